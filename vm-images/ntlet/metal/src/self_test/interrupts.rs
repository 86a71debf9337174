//! IRQL, software interrupts, the clock, and that all of them reach the processor they are meant for.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use kernel::hal::{APC_LEVEL, CLOCK_LEVEL, DISPATCH_LEVEL, HIGH_LEVEL, Irql, PASSIVE_LEVEL};

use super::{Check, MILLISECOND, Outcome, check, hal, log, on_clock, on_software, run_on, wait_until};

pub(super) const CHECKS: &[Check] = &[
    ("software interrupts wait for their IRQL and come in its order", software_interrupts_are_ordered),
    ("a software interrupt runs at its IRQL with interrupts enabled", software_interrupts_run_at_their_level),
    ("masked interrupts wait until they are enabled again", masking_holds_interrupts),
    ("every processor gets the software interrupts sent to it", software_interrupts_cross_processors),
    ("the clock comes when its deadline has passed, and once", the_clock_keeps_deadlines),
    ("a deadline that has passed comes at once", a_late_deadline_comes_at_once),
    ("a deadline can be replaced and withdrawn", deadlines_can_be_replaced),
    ("the clock comes on the processor that asked", the_clock_is_local),
    ("time does not go back from processor to processor", time_is_monotonic),
    ("the date is one of this century", the_date_is_plausible),
    ("every processor has a control region that knows itself", control_regions_are_right),
];

/// The last interrupts' levels, one hexadecimal digit each.
static TRACE: AtomicU64 = AtomicU64::new(0);
static SEEN_LEVEL: AtomicU32 = AtomicU32::new(0);
static SEEN_PROCESSOR: AtomicU32 = AtomicU32::new(0);
static SEEN_AT: AtomicU64 = AtomicU64::new(0);
static COUNT: AtomicU32 = AtomicU32::new(0);

fn trace(irql: Irql) {
    let _ = TRACE.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |trace| Some(trace << 4 | u64::from(irql)));
}

fn software_interrupts_are_ordered() -> Outcome {
    TRACE.store(0, Ordering::SeqCst);
    on_software(trace, || {
        hal().set_irql(HIGH_LEVEL);
        hal().request_software_interrupt(0, APC_LEVEL);
        hal().request_software_interrupt(0, DISPATCH_LEVEL);
        check!(TRACE.load(Ordering::SeqCst) == 0, "one came at HIGH_LEVEL");
        hal().set_irql(DISPATCH_LEVEL);
        check!(TRACE.load(Ordering::SeqCst) == 0, "one came at DISPATCH_LEVEL");
        hal().set_irql(APC_LEVEL);
        check!(TRACE.load(Ordering::SeqCst) == 2, "lowering to APC_LEVEL did not deliver DISPATCH_LEVEL alone");
        hal().set_irql(PASSIVE_LEVEL);
        check!(TRACE.load(Ordering::SeqCst) == 0x21, "lowering to PASSIVE_LEVEL did not deliver APC_LEVEL");
        hal().request_software_interrupt(0, APC_LEVEL);
        check!(wait_until(|| TRACE.load(Ordering::SeqCst) == 0x211), "at PASSIVE_LEVEL one did not come");
        Ok(())
    })
}

fn software_interrupts_run_at_their_level() -> Outcome {
    SEEN_LEVEL.store(0, Ordering::SeqCst);
    let handler: fn(Irql) = |_| {
        let enabled = hal().disable_interrupts();
        hal().restore_interrupts(enabled);
        SEEN_LEVEL.store(u32::from(hal().irql()) | u32::from(enabled) << 8, Ordering::SeqCst);
    };
    on_software(handler, || {
        hal().request_software_interrupt(0, DISPATCH_LEVEL);
        check!(wait_until(|| SEEN_LEVEL.load(Ordering::SeqCst) != 0), "it did not come");
        check!(SEEN_LEVEL.load(Ordering::SeqCst) == 0x102, "it saw another IRQL, or interrupts masked");
        check!(hal().irql() == PASSIVE_LEVEL, "the IRQL was not restored");
        Ok(())
    })
}

fn masking_holds_interrupts() -> Outcome {
    TRACE.store(0, Ordering::SeqCst);
    on_software(trace, || {
        let enabled = hal().disable_interrupts();
        check!(enabled, "interrupts were masked already");
        hal().request_software_interrupt(0, DISPATCH_LEVEL);
        let began = hal().uptime();
        wait_until(|| hal().uptime() > began + MILLISECOND);
        let early = TRACE.load(Ordering::SeqCst);
        check!(!hal().disable_interrupts(), "interrupts were not masked");
        hal().restore_interrupts(enabled);
        check!(early == 0, "it came while interrupts were masked");
        check!(wait_until(|| TRACE.load(Ordering::SeqCst) == 2), "it did not come afterwards");
        Ok(())
    })
}

fn software_interrupts_cross_processors() -> Outcome {
    let handler: fn(Irql) = |_| SEEN_PROCESSOR.store(hal().current_processor(), Ordering::SeqCst);
    for processor in 0..hal().processor_count() {
        SEEN_PROCESSOR.store(u32::MAX, Ordering::SeqCst);
        let came = on_software(handler, || {
            hal().request_software_interrupt(processor, APC_LEVEL);
            wait_until(|| SEEN_PROCESSOR.load(Ordering::SeqCst) != u32::MAX)
        });
        check!(came, "it did not come");
        check!(SEEN_PROCESSOR.load(Ordering::SeqCst) == processor, "it came on another processor");
    }
    Ok(())
}

fn note_clock() {
    SEEN_AT.store(hal().uptime(), Ordering::SeqCst);
    SEEN_LEVEL.store(u32::from(hal().irql()), Ordering::SeqCst);
    SEEN_PROCESSOR.store(hal().current_processor(), Ordering::SeqCst);
    COUNT.fetch_add(1, Ordering::SeqCst);
}

fn reset_clock() {
    COUNT.store(0, Ordering::SeqCst);
}

fn the_clock_keeps_deadlines() -> Outcome {
    on_clock(note_clock, || {
        let mut worst = 0;
        for wait in [1, 2, 5, 20].map(|wait| wait * MILLISECOND) {
            reset_clock();
            let deadline = hal().uptime() + wait;
            hal().arm_clock(deadline);
            check!(wait_until(|| COUNT.load(Ordering::SeqCst) != 0), "it did not come");
            let late = SEEN_AT.load(Ordering::SeqCst).checked_sub(deadline);
            check!(late.is_some(), "it came early");
            check!(SEEN_LEVEL.load(Ordering::SeqCst) == u32::from(CLOCK_LEVEL), "it did not come at CLOCK_LEVEL");
            worst = worst.max(late.unwrap_or(0));
        }
        log!("     clock late by {} us at worst", worst / 10);
        check!(worst < 200 * MILLISECOND, "it came 200 ms late");
        let began = hal().uptime();
        wait_until(|| hal().uptime() > began + 5 * MILLISECOND);
        check!(COUNT.load(Ordering::SeqCst) == 1, "it came again");
        Ok(())
    })
}

fn a_late_deadline_comes_at_once() -> Outcome {
    on_clock(note_clock, || {
        for deadline in [0, hal().uptime() - 1] {
            reset_clock();
            hal().arm_clock(deadline);
            check!(wait_until(|| COUNT.load(Ordering::SeqCst) == 1), "it did not come");
        }
        Ok(())
    })
}

fn deadlines_can_be_replaced() -> Outcome {
    on_clock(note_clock, || {
        reset_clock();
        hal().arm_clock(hal().uptime() + 3 * MILLISECOND);
        hal().arm_clock(u64::MAX);
        let began = hal().uptime();
        wait_until(|| hal().uptime() > began + 6 * MILLISECOND);
        check!(COUNT.load(Ordering::SeqCst) == 0, "a withdrawn deadline came");
        // Longer than the timer can count: must not come early, and gives way to a shorter one.
        hal().arm_clock(hal().uptime() + 3_600_000 * MILLISECOND);
        hal().arm_clock(hal().uptime() + MILLISECOND);
        check!(wait_until(|| COUNT.load(Ordering::SeqCst) == 1), "the deadline that replaced another did not come");
        Ok(())
    })
}

fn the_clock_is_local() -> Outcome {
    on_clock(note_clock, || {
        for processor in 1..hal().processor_count() {
            reset_clock();
            check!(run_on(processor, || hal().arm_clock(hal().uptime() + MILLISECOND)), "the processor does not answer");
            check!(wait_until(|| COUNT.load(Ordering::SeqCst) == 1), "it did not come");
            check!(SEEN_PROCESSOR.load(Ordering::SeqCst) == processor, "it came on another processor");
        }
        Ok(())
    })
}

fn time_is_monotonic() -> Outcome {
    for processor in 1..hal().processor_count() {
        for _ in 0..20 {
            let before = hal().uptime();
            check!(run_on(processor, || SEEN_AT.store(hal().uptime(), Ordering::SeqCst)), "the processor does not answer");
            let there = SEEN_AT.load(Ordering::SeqCst);
            check!(before <= there && there <= hal().uptime(), "it went back");
        }
    }
    let (count, hertz) = hal().performance_counter();
    let seconds = hal().uptime() / 10_000_000;
    check!(hertz > 1_000_000 && count / hertz <= seconds, "the performance counter disagrees with uptime");
    Ok(())
}

fn the_date_is_plausible() -> Outcome {
    const YEAR_2020: u64 = 132_223_104_000_000_000;
    const YEAR_2100: u64 = 157_469_184_000_000_000;
    check!((YEAR_2020..YEAR_2100).contains(&hal().boot_time()), "the machine booted before 2020 or after 2100");
    Ok(())
}

fn control_regions_are_right() -> Outcome {
    fn examine() {
        let region = hal().control_region();
        // SAFETY: the control region of this processor, mapped for ever.
        let (own, mxcsr) = unsafe { ((*region.as_ptr()).self_pointer, (*region.as_ptr()).mxcsr) };
        let right = own == region.as_ptr() && mxcsr == 0x1f80;
        COUNT.store(if right { hal().current_processor() } else { u32::MAX }, Ordering::SeqCst);
    }
    for processor in 0..hal().processor_count() {
        let ran = if processor == 0 {
            examine();
            true
        } else {
            run_on(processor, examine)
        };
        check!(ran && COUNT.load(Ordering::SeqCst) == processor, "one is not");
    }
    Ok(())
}
