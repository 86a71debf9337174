//! The order of a device's callbacks, by the pages "A User Plugs in a Device", "A User Unplugs a Device", "A Device Enters a Low-Power
//! State" and their kin. Nothing but the order is here: what a step does is the caller's, who may be a test.

use wdf_sys::NTSTATUS;

/// One thing done on the way up or down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// EvtDevicePrepareHardware.
    PrepareHardware,
    /// EvtDeviceReleaseHardware.
    ReleaseHardware,
    /// EvtDeviceD0Entry.
    D0Entry,
    /// Interrupts connected, EvtInterruptEnable of each.
    EnableInterrupts,
    /// EvtDeviceD0EntryPostInterruptsEnabled.
    PostInterruptsEnabled,
    /// EvtDmaEnablerFill, EvtDmaEnablerEnable, EvtDmaEnablerSelfManagedIoStart of each enabler.
    StartDma,
    /// Power-managed queues dispatch.
    StartQueues,
    /// EvtDeviceSelfManagedIoInit, or EvtDeviceSelfManagedIoRestart after the first time.
    StartSelfManagedIo,
    /// EvtDeviceSelfManagedIoSuspend.
    SuspendSelfManagedIo,
    /// Power-managed queues stop, EvtIoStop for what the driver holds.
    StopQueues,
    /// EvtDmaEnablerSelfManagedIoStop, EvtDmaEnablerFlush, EvtDmaEnablerDisable of each enabler.
    StopDma,
    /// EvtDeviceD0ExitPreInterruptsDisabled.
    PreInterruptsDisabled,
    /// EvtInterruptDisable of each, interrupts disconnected.
    DisableInterrupts,
    /// EvtDeviceD0Exit.
    D0Exit,
}

/// Does steps.
pub(crate) trait Steps {
    /// Does one. The error is what the driver's callback returned.
    fn step(&mut self, step: Step) -> Result<(), NTSTATUS>;
}

/// Why a device leaves D0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Down {
    /// Low power, stop, orderly removal.
    Orderly,
    /// The hardware is gone: queues first, then self-managed I/O, as the page says.
    Surprise,
}

const UP: &[Step] = &[
    Step::D0Entry,
    Step::EnableInterrupts,
    Step::PostInterruptsEnabled,
    Step::StartDma,
    Step::StartQueues,
    Step::StartSelfManagedIo,
];

/// What undoes each step of `UP` when it, or one after it, fails. A step that failed is not undone, but for those that do part of
/// their work: interrupts and DMA enablers, of which some may have been enabled.
const fn undo(step: Step, failed_here: bool) -> &'static [Step] {
    match (step, failed_here) {
        (Step::D0Entry, false) => &[Step::D0Exit],
        (Step::EnableInterrupts, _) => &[Step::DisableInterrupts],
        (Step::PostInterruptsEnabled, false) => &[Step::PreInterruptsDisabled],
        (Step::StartDma, _) => &[Step::StopDma],
        (Step::StartQueues, _) => &[Step::StopQueues],
        _ => &[],
    }
}

/// Brings the device to D0.
///
/// # Errors
/// What the step that failed returned; the device is out of D0 again then.
pub(crate) fn power_up(steps: &mut impl Steps) -> Result<(), NTSTATUS> {
    for (at, &step) in UP.iter().enumerate() {
        let Err(status) = steps.step(step) else { continue };
        for (back, &done) in UP.iter().enumerate().take(at + 1).rev() {
            for &undoing in undo(done, back == at) {
                // The first failure is the one to report; the way down is gone to its end whatever happens.
                let _ = steps.step(undoing);
            }
        }
        return Err(status);
    }
    Ok(())
}

/// Takes the device out of D0. Every step is done, whatever the ones before returned.
///
/// # Errors
/// What the first step that failed returned.
pub(crate) fn power_down(steps: &mut impl Steps, down: Down) -> Result<(), NTSTATUS> {
    let first = match down {
        Down::Orderly => [Step::SuspendSelfManagedIo, Step::StopQueues],
        Down::Surprise => [Step::StopQueues, Step::SuspendSelfManagedIo],
    };
    let rest = [Step::StopDma, Step::PreInterruptsDisabled, Step::DisableInterrupts, Step::D0Exit];
    let mut result = Ok(());
    for step in first.into_iter().chain(rest) {
        result = result.and(steps.step(step));
    }
    result
}

/// Prepares the hardware and brings the device to D0.
///
/// # Errors
/// What the step that failed returned. EvtDeviceReleaseHardware has been called then, as always after EvtDevicePrepareHardware.
pub(crate) fn start(steps: &mut impl Steps) -> Result<(), NTSTATUS> {
    let outcome = steps.step(Step::PrepareHardware).and_then(|()| power_up(steps));
    if outcome.is_err() {
        let _ = steps.step(Step::ReleaseHardware);
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Recorder {
        done: Vec<Step>,
        fails_at: Option<Step>,
    }

    impl Steps for Recorder {
        fn step(&mut self, step: Step) -> Result<(), NTSTATUS> {
            self.done.push(step);
            if self.fails_at == Some(step) { Err(NTSTATUS::UNSUCCESSFUL) } else { Ok(()) }
        }
    }

    fn started_failing_at(step: Step) -> Vec<Step> {
        let mut recorder = Recorder { fails_at: Some(step), ..Recorder::default() };
        assert_eq!(start(&mut recorder), Err(NTSTATUS::UNSUCCESSFUL));
        let at = recorder.done.iter().position(|&done| done == step).expect("the step was tried");
        recorder.done.split_off(at + 1)
    }

    #[test]
    fn a_start_calls_back_in_the_documented_order() {
        let mut recorder = Recorder::default();
        assert_eq!(start(&mut recorder), Ok(()));
        assert_eq!(
            recorder.done,
            [
                Step::PrepareHardware,
                Step::D0Entry,
                Step::EnableInterrupts,
                Step::PostInterruptsEnabled,
                Step::StartDma,
                Step::StartQueues,
                Step::StartSelfManagedIo
            ]
        );
    }

    #[test]
    fn an_orderly_way_down_suspends_self_managed_io_before_the_queues_stop() {
        let mut recorder = Recorder::default();
        assert_eq!(power_down(&mut recorder, Down::Orderly), Ok(()));
        assert_eq!(
            recorder.done,
            [
                Step::SuspendSelfManagedIo,
                Step::StopQueues,
                Step::StopDma,
                Step::PreInterruptsDisabled,
                Step::DisableInterrupts,
                Step::D0Exit
            ]
        );
    }

    #[test]
    fn a_surprise_removal_stops_the_queues_first() {
        let mut recorder = Recorder::default();
        assert_eq!(power_down(&mut recorder, Down::Surprise), Ok(()));
        assert_eq!(recorder.done[..2], [Step::StopQueues, Step::SuspendSelfManagedIo]);
    }

    #[test]
    fn release_hardware_follows_a_prepare_hardware_that_failed() {
        assert_eq!(started_failing_at(Step::PrepareHardware), [Step::ReleaseHardware]);
    }

    #[test]
    fn d0_exit_does_not_follow_a_d0_entry_that_failed() {
        assert_eq!(started_failing_at(Step::D0Entry), [Step::ReleaseHardware]);
    }

    #[test]
    fn interrupts_that_were_enabled_are_disabled_when_another_one_fails() {
        assert_eq!(started_failing_at(Step::EnableInterrupts), [Step::DisableInterrupts, Step::D0Exit, Step::ReleaseHardware]);
    }

    #[test]
    fn a_failure_of_self_managed_io_takes_everything_down_again() {
        assert_eq!(
            started_failing_at(Step::StartSelfManagedIo),
            [
                Step::StopQueues,
                Step::StopDma,
                Step::PreInterruptsDisabled,
                Step::DisableInterrupts,
                Step::D0Exit,
                Step::ReleaseHardware
            ]
        );
    }

    #[test]
    fn a_failure_on_the_way_down_skips_nothing_and_is_reported() {
        let mut recorder = Recorder { fails_at: Some(Step::SuspendSelfManagedIo), ..Recorder::default() };
        assert_eq!(power_down(&mut recorder, Down::Orderly), Err(NTSTATUS::UNSUCCESSFUL));
        assert_eq!(recorder.done.last(), Some(&Step::D0Exit));
        assert_eq!(recorder.done.len(), 6);
    }
}
