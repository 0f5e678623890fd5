//! What several examples need.

use samovar_tensor::Tensor;
use samovar_testkit::Random;

/// Random numbers between `-scale` and `scale`, the same at every call.
pub fn numbers(shape: &[usize], scale: f32) -> Tensor {
    Random::new("examples").tensor(shape, scale)
}

/// Time this thread has run on a processor, in seconds.
pub fn thread_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to the struct.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(status, 0, "no processor clock");
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
