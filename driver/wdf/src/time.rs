//! Time: due times in the kernel's units, and waiting.

use core::time::Duration;

use crate::irql::Passive;

/// A time-out of the kernel: 100 ns units, negative from now on. Longer than the kernel can say becomes the longest it can say.
#[must_use]
pub fn relative(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos() / 100).map_or(i64::MIN, |units| -units)
}

/// Gives the processor away for at least `duration`.
pub fn sleep(duration: Duration, passive: Passive<'_>) {
    passive.check();
    #[cfg(target_os = "windows")]
    {
        let mut interval = relative(duration);
        // SAFETY: at PASSIVE_LEVEL, not alertable, so that only the interval ends the wait.
        let _ = unsafe {
            wdf_sys::wdm::functions::KeDelayExecutionThread(wdf_sys::wdm::constants::KERNEL_MODE, 0, &raw mut interval)
        };
    }
    #[cfg(all(test, not(target_os = "windows")))]
    std::thread::sleep(duration);
    #[cfg(not(any(test, target_os = "windows")))]
    {
        // The library is built for the host to be checked and documented; nothing runs there.
        let _ = duration;
        core::hint::spin_loop();
    }
}

/// Keeps the processor busy for about `microseconds`; at any IRQL, for waits too short to sleep.
pub fn stall(microseconds: u32) {
    #[cfg(target_os = "windows")]
    // SAFETY: takes any number at any IRQL.
    unsafe {
        wdf_sys::wdm::functions::KeStallExecutionProcessor(microseconds);
    }
    #[cfg(not(target_os = "windows"))]
    let _ = microseconds;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_becomes_negative_units_of_100_ns() {
        assert_eq!(relative(Duration::from_millis(1)), -10_000);
    }

    #[test]
    fn a_duration_beyond_the_kernels_range_becomes_the_longest() {
        assert_eq!(relative(Duration::MAX), i64::MIN);
    }
}
