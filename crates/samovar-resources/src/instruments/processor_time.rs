//! Clocks of the processor.

use std::time::Duration;

/// Processor time of all threads of this process so far; `None` where the system does not tell.
pub fn processor_time() -> Option<Duration> {
    clock::of_process()
}

/// Processor time of the calling thread so far; `None` where the system does not tell.
pub fn thread_time() -> Option<Duration> {
    clock::of_thread()
}

#[cfg(unix)]
mod clock {
    use std::time::Duration;

    use rustix::time::{ClockId, clock_gettime};

    pub(super) fn of_process() -> Option<Duration> {
        clock_gettime(ClockId::ProcessCPUTime).try_into().ok()
    }

    pub(super) fn of_thread() -> Option<Duration> {
        clock_gettime(ClockId::ThreadCPUTime).try_into().ok()
    }
}

#[cfg(not(unix))]
mod clock {
    use std::time::Duration;

    pub(super) fn of_process() -> Option<Duration> {
        None
    }

    pub(super) fn of_thread() -> Option<Duration> {
        None
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn work_takes_processor_time_and_waiting_takes_none() {
        // The process's first here and last below, so that its span holds the thread's.
        let (process, thread) = (processor_time().unwrap(), thread_time().unwrap());
        std::thread::sleep(Duration::from_millis(60));
        let waited = thread_time().unwrap() - thread;
        assert!(waited < Duration::from_millis(30), "{waited:?}");
        let (began, mut sum) = (Instant::now(), 0u64);
        while thread_time().unwrap() - thread < Duration::from_millis(30) {
            sum = std::hint::black_box(sum + 1);
            assert!(began.elapsed() < Duration::from_secs(60), "{sum}");
        }
        assert!(processor_time().unwrap() - process >= Duration::from_millis(30));
    }
}
