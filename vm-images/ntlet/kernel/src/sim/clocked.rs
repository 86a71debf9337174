//! Processors: their IRQL, what interrupts them, and taking turns. The virtual clock is theirs too.

use std::vec::Vec;

use core::ffi::c_void;

use super::machine::{self, with};
use super::{child, stacks};
use crate::entry;
use crate::hal::{APC_LEVEL, CLOCK_LEVEL, DISPATCH_LEVEL, HIGH_LEVEL, Irql, PASSIVE_LEVEL};
use crate::processor::Kpcr;

/// Bytes of the stack that a processor begins on.
const STACK: usize = 512 << 10;
/// Time that passes when a processor waits in a loop, and when it asks for the time; units of 100 ns.
pub(super) const RELAX: u64 = 10;
pub(super) const ASK: u64 = 1;
const NEVER: u64 = u64::MAX;

/// One processor.
pub(super) struct Processor {
    pub(super) region: *mut Kpcr,
    pub(super) irql: Irql,
    pub(super) interrupts: bool,
    pub(super) deadline: u64,
    /// Software interrupts that are asked for, a bit each.
    software: u16,
    /// Device vectors that have come.
    vectors: Vec<u8>,
    /// Waits for an interrupt.
    is_idle: bool,
    /// Where it goes on.
    stack_pointer: u64,
}

/// An interrupt that can be delivered.
enum Interrupt {
    Clock,
    Device(u8),
    Software(Irql),
}

impl Processor {
    pub(super) fn new(number: u32) -> Self {
        let stack = std::vec![0u8; STACK].leak();
        // SAFETY: all zero bytes are a control region, and it lives for ever.
        let region = std::boxed::Box::leak(unsafe { std::boxed::Box::<Kpcr>::new_zeroed().assume_init() });
        region.self_pointer = region;
        region.current_prcb = (&raw mut region.mxcsr).cast();
        region.legacy_number = number as u8;
        let argument = core::ptr::without_provenance_mut(number as usize);
        // SAFETY: the stack is new and stays.
        let stack_pointer = unsafe { stacks::prepare(stack, begin, argument) };
        Self {
            region,
            irql: HIGH_LEVEL,
            interrupts: true,
            deadline: NEVER,
            software: 0,
            vectors: Vec::new(),
            is_idle: false,
            stack_pointer,
        }
    }

    pub(super) fn ask_for_software_interrupt(&mut self, irql: Irql) {
        self.software |= 1 << irql;
    }

    pub(super) fn raise(&mut self, vector: u8) {
        if !self.vectors.contains(&vector) {
            self.vectors.push(vector);
        }
    }

    /// The most urgent interrupt that can come now.
    fn next(&self, now: u64) -> Option<Interrupt> {
        if !self.interrupts {
            return None;
        }
        if self.irql < CLOCK_LEVEL && now >= self.deadline {
            return Some(Interrupt::Clock);
        }
        if let Some(&vector) = self.vectors.iter().max().filter(|&&vector| vector >> 4 > self.irql) {
            return Some(Interrupt::Device(vector));
        }
        let level = [DISPATCH_LEVEL, APC_LEVEL].into_iter().find(|&level| self.software >> level & 1 != 0)?;
        (level > self.irql).then_some(Interrupt::Software(level))
    }
}

/// Where each processor begins.
extern "win64" fn begin(number: *mut c_void) -> ! {
    if number.addr() == 0 {
        let (boot, main) = with(|machine| machine.boot.take()).expect("the machine is started once");
        crate::boot::start(boot, main)
    }
    while !crate::is_ready_for_processors() {
        give_way();
    }
    entry::start_processor()
}

/// Delivers what can be delivered on this processor.
pub(super) fn deliver() {
    while let Some((interrupt, before)) = with(|machine| {
        let now = machine.now;
        let processor = machine.processor();
        let interrupt = processor.next(now)?;
        let before = processor.irql;
        processor.is_idle = false;
        processor.irql = match interrupt {
            Interrupt::Clock => {
                processor.deadline = NEVER;
                CLOCK_LEVEL
            }
            Interrupt::Device(vector) => {
                processor.vectors.retain(|&other| other != vector);
                vector >> 4
            }
            Interrupt::Software(level) => {
                processor.software &= !(1 << level);
                level
            }
        };
        Some((interrupt, before))
    }) {
        match interrupt {
            Interrupt::Clock => entry::clock_interrupt(),
            Interrupt::Device(vector) => {
                entry::device_interrupt(vector);
                // A level that is still active interrupts again.
                with(machine::State::drive_lines);
            }
            Interrupt::Software(level) => entry::software_interrupt(level),
        }
        // The thread may have moved to another processor meanwhile.
        with(|machine| machine.processor().irql = before);
    }
}

pub(super) fn set_irql(irql: Irql) {
    let falls = with(|machine| core::mem::replace(&mut machine.processor().irql, irql) > irql);
    if falls {
        deliver();
    }
}

/// Lets the other processors and the devices go on.
pub(super) fn give_way() {
    let (here, main) = with(|machine| {
        let main = machine.main_stack;
        (&raw mut machine.processor().stack_pointer, main)
    });
    // SAFETY: the main loop waits in `turns`; this processor goes on when its turn comes.
    unsafe { stacks::switch(here, main) };
}

pub(super) fn relax() {
    with(|machine| machine.now += RELAX);
    deliver();
    if with(|machine| machine.processors.len() > 1 || machine.has_devices()) {
        give_way();
        deliver();
    }
}

pub(super) fn wait_for_interrupt() {
    with(|machine| {
        let processor = machine.processor();
        assert!(processor.irql == PASSIVE_LEVEL, "a processor waits for interrupts at IRQL {}", processor.irql);
        processor.interrupts = true;
        processor.is_idle = true;
    });
    deliver();
    if with(|machine| machine.processor().is_idle) {
        give_way();
        deliver();
        with(|machine| machine.processor().is_idle = false);
    }
}

/// The main loop: gives every processor its turn, one after the other, for ever.
pub(super) fn turns() -> ! {
    loop {
        machine::poll_devices();
        let Some(next) = with(|machine| machine.next_processor()) else {
            advance_clock();
            continue;
        };
        let (region, there, main) = with(|machine| {
            machine.current = next;
            let main = &raw mut machine.main_stack;
            let processor = machine.processor();
            (processor.region, processor.stack_pointer, main)
        });
        set_gs(region);
        // SAFETY: the processor's stack was prepared, or saved by `give_way`.
        unsafe { stacks::switch(main, there) };
    }
}

/// Every processor is idle: nothing happens before the first deadline.
fn advance_clock() {
    let next = with(|machine| {
        let next = machine.processors.iter().map(|processor| processor.deadline).min().unwrap_or(NEVER);
        if next != NEVER {
            machine.now = machine.now.max(next);
        }
        next
    });
    if next == NEVER && !machine::poll_devices() {
        child::stuck("every processor is idle, no timer runs and no device has anything to do");
    }
}

impl machine::State {
    /// The next processor that has something to do.
    fn next_processor(&self) -> Option<usize> {
        let count = self.processors.len();
        let candidates = (1..=count).map(|step| (self.current + step) % count);
        candidates.into_iter().find(|&number| {
            let processor = &self.processors[number];
            !processor.is_idle || processor.next(self.now).is_some()
        })
    }
}

/// Makes GS lead to a control region, as on hardware.
fn set_gs(region: *mut Kpcr) {
    const ARCH_SET_GS: i32 = 0x1001;
    // SAFETY: nothing in a Linux process on x86-64 uses GS.
    let result = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_SET_GS, region) };
    assert!(result == 0, "arch_prctl: {}", std::io::Error::last_os_error());
}
