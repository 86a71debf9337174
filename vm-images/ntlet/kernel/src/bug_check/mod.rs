//! The end of a guest that cannot go on: one report, as text on COM1 and as frames on COM2, then the machine ends.
//!
//! Nothing here allocates or waits, and everything may be damaged: memory is read checked, other processors stand still, and a fault
//! inside the report ends it.

mod callbacks;

use core::fmt;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use channel::{FromGuest, MAX_FRAME};

use crate::dispatcher::thread;
use crate::entry::ExceptionFrame;
use crate::exception::back_trace::{self, Frame};
use crate::exception::registers::{RBP, RSP, Registers};
use crate::hal::{Ending, HIGH_LEVEL, Irql};
use crate::loader::modules::{self, place};
use crate::lock::InterruptLock;
use crate::{boot, kd, log, try_hal};

pub use callbacks::*;

/// A panic of the image, as a code of its own kind: Windows gives `MANUALLY_INITIATED_CRASH` to whoever ends a system on purpose.
const PANIC: u32 = wdf_sys::wdm::constants::bug_check::MANUALLY_INITIATED_CRASH;
/// First parameter of a panic's bug check: "panic!" in ASCII.
const PANIC_MARK: u64 = u64::from_be_bytes(*b"\0\0panic!");

/// Where a bug check comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin<'a> {
    /// The code that asks for it.
    Here,
    /// An exception.
    Exception(&'a ExceptionFrame),
    /// A place further up the stack.
    Registers(&'a Registers),
}

/// Nobody reports yet.
const NOBODY: u32 = u32::MAX;
static REPORTER: AtomicU32 = AtomicU32::new(NOBODY);
static NESTED: AtomicBool = AtomicBool::new(false);
/// Room for one frame on its way to COM2.
static LINE: InterruptLock<[u8; MAX_FRAME]> = InterruptLock::new([0; MAX_FRAME]);

/// Ends the guest with a bug check.
pub fn bug_check(code: u32, parameters: [u64; 4]) -> ! {
    report(code, parameters, Origin::Here)
}

/// Ends the guest because the image has panicked; the message is in the log.
pub fn panic(info: &PanicInfo<'_>) -> ! {
    log::write_by_force(format_args!("{info}"));
    let line = info.location().map_or(0, |location| location.line());
    report(PANIC, [PANIC_MARK, u64::from(line), 0, 0], Origin::Here)
}

/// Ends the guest with a bug check that comes from `origin`.
pub(crate) fn report(code: u32, parameters: [u64; 4], origin: Origin<'_>) -> ! {
    let Some(hal) = try_hal() else {
        panic!("bug check {code:#x} {parameters:x?} before there is a machine");
    };
    hal.disable_interrupts();
    let irql = hal.irql();
    hal.set_irql(HIGH_LEVEL);
    let processor = hal.current_processor();
    match REPORTER.compare_exchange(NOBODY, processor, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {}
        Err(reporter) if reporter == processor => {
            if !NESTED.swap(true, Ordering::AcqRel) {
                log::write_by_force(format_args!(
                    "bug check {code:#x} {parameters:x?} inside the report of a bug check, which ends here"
                ));
            }
            hal.end(Ending::BugCheck)
        }
        // Another processor reports, and will freeze this one.
        Err(_) => loop {
            hal.relax();
        },
    }
    hal.freeze_other_processors();
    let registers = match origin {
        Origin::Here => Registers::here(),
        Origin::Exception(frame) => Registers::of(frame),
        Origin::Registers(registers) => *registers,
    };
    let report = Report { code, parameters, irql, registers, is_exact: !matches!(origin, Origin::Here) };
    kd::note_bug_check(code, parameters, &report.registers);
    report.write_text();
    kd::stop_for_bug_check(code, parameters, true);
    if !restarts_at_end() {
        report.send();
    }
    callbacks::run();
    kd::stop_for_bug_check(code, parameters, false);
    hal.end(Ending::BugCheck)
}

/// Whether what comes after this kernel tells of the bug check.
fn restarts_at_end() -> bool {
    let is = |word: &str| word == crate::entry::RESTARTS_AT_END;
    boot::parameters().is_some_and(|boot| boot.command_line.split_ascii_whitespace().any(is))
}

struct Report {
    code: u32,
    parameters: [u64; 4],
    irql: Irql,
    registers: Registers,
    /// Whether the registers are those of the place at fault, rather than of the code that found the fault.
    is_exact: bool,
}

impl Report {
    /// The address to blame: where the registers are, or else the first driver on the stack.
    fn culprit(&self) -> usize {
        let in_driver = |frame: &Frame| modules::find(frame.address).is_some_and(|module| module.slot() != modules::IMAGE);
        let here = self.registers.rip as usize;
        if self.is_exact {
            return here;
        }
        back_trace::from(&self.registers).find(in_driver).map_or(here, |frame| frame.address)
    }

    fn write_text(&self) {
        let [first, second, third, fourth] = self.parameters;
        let code = self.code;
        say(format_args!("*** bug check {code:#x} ({first:#x}, {second:#x}, {third:#x}, {fourth:#x})"));
        let current = thread::current();
        // SAFETY: null, or the running thread, which is alive.
        let id = unsafe { current.as_ref() }.map_or(0, |thread| thread.id());
        say(format_args!("*** at {}, IRQL {}, thread {id}", place(self.culprit()), self.irql));
        self.write_registers();
        for (number, frame) in back_trace::from(&self.registers).enumerate() {
            say(format_args!("  #{number:<2} {}", place(frame.address)));
        }
        for module in modules::all() {
            let (base, end, stamp) = (module.base(), module.base() + module.size(), module.time_stamp());
            say(format_args!("  {base:#018x}..{end:#018x} {} (time stamp {stamp:#010x})", module.name()));
        }
    }

    fn write_registers(&self) {
        const NAMES: [&str; 16] =
            ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
        struct Line<'a>(&'a [&'static str], &'a [u64]);
        impl fmt::Display for Line<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().zip(self.1).try_for_each(|(name, value)| write!(f, " {name:>3}={value:016x}"))
            }
        }
        let general = &self.registers.general;
        for start in (0..16).step_by(4) {
            say(format_args!(" {}", Line(&NAMES[start..start + 4], &general[start..start + 4])));
        }
        say(format_args!("  rip={:016x} rflags={:08x}", self.registers.rip, self.registers.rflags));
        debug_assert!(NAMES[RSP] == "rsp" && NAMES[RBP] == "rbp");
    }

    /// The frames for the harness. A zero first: whatever was being sent ends there.
    fn send(&self) {
        if let Some(hal) = try_hal() {
            hal.channel_write(&[0]);
        }
        let (module, offset) = place(self.culprit()).parts();
        send(&FromGuest::BugCheck { code: self.code, parameters: self.parameters, module, offset });
        for Frame { address, is_return } in back_trace::from(&self.registers) {
            let (module, offset) = place(address).parts();
            send(&FromGuest::BugCheckFrame { module, offset, is_return });
        }
        let Registers { general, rip, rflags, .. } = self.registers;
        send(&FromGuest::BugCheckRegisters { general, rip, rflags });
        for module in modules::all() {
            let (base, size) = (module.base() as u64, module.size() as u64);
            send(&FromGuest::BugCheckModule { name: module.name(), base, size, time_stamp: module.time_stamp() });
        }
        send(&FromGuest::BugCheckEnd);
    }
}

fn say(text: fmt::Arguments<'_>) {
    log::write_by_force(text);
}

fn send(message: &FromGuest<'_>) {
    let mut line = LINE.lock_by_force();
    // Every name is short, so that every message fits.
    if let (Ok(length), Some(hal)) = (channel::encode(message, &mut line), try_hal()) {
        hal.channel_write(&line[..length]);
    }
}
