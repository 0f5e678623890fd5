//! What several examples need.

use samovar_tensor::Tensor;

/// Random numbers between `-scale` and `scale`, the same at every call.
pub fn numbers(shape: &[usize], scale: f32) -> Tensor {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * scale
    };
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
    Tensor::from_values(shape, &values)
}

/// Time this thread has run on a processor, in seconds.
pub fn thread_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to the struct.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(status, 0, "no processor clock");
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
