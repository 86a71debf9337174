//! Bug checks: what the guest reported, and names for codes.

use serde::{Deserialize, Serialize};

/// A bug check as the guest reported it, with names where they are known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BugCheck {
    /// Its code.
    pub code: u32,
    /// The code's name, if it has one that we know.
    pub name: Option<String>,
    /// Its parameters.
    pub parameters: [u64; 4],
    /// The address at fault.
    pub at: Place,
    /// Back trace, innermost first.
    pub frames: Vec<Place>,
    /// Registers at the place that it comes from.
    pub registers: Option<Registers>,
    /// Modules that were loaded.
    pub modules: Vec<Module>,
    /// Whether the report arrived in full.
    pub complete: bool,
}

/// The registers of a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registers {
    /// By number: `rax`, `rcx`, `rdx`, `rbx`, `rsp`, `rbp`, `rsi`, `rdi`, `r8` to `r15`.
    pub general: [u64; 16],
    /// Instruction pointer.
    pub rip: u64,
    /// Flags.
    pub rflags: u64,
}

impl Registers {
    const NAMES: [&str; 16] =
        ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];

    /// Four a line, as debuggers print them.
    fn lines(&self) -> impl Iterator<Item = String> {
        let named: Vec<String> =
            Self::NAMES.iter().zip(self.general).map(|(name, value)| format!("{name:>3}={value:016x}")).collect();
        let last = format!("rip={:016x} rflags={:08x}", self.rip, self.rflags);
        named.chunks(4).map(|line| line.join(" ")).chain([last]).collect::<Vec<_>>().into_iter()
    }
}

/// A module of the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// File name.
    pub name: String,
    /// Address of its first byte.
    pub base: u64,
    /// Bytes of address space it takes.
    pub size: u64,
    /// Time stamp of its file.
    pub time_stamp: u32,
}

/// An address in the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Module, or empty.
    pub module: String,
    /// Offset in the module, or the address itself.
    pub offset: u64,
    /// Function, file and line from the module's symbols.
    pub function: Option<String>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.module.is_empty() {
            write!(f, "{:#x}", self.offset)?;
        } else {
            write!(f, "{}+{:#x}", self.module, self.offset)?;
        }
        self.function.as_ref().map_or(Ok(()), |function| write!(f, " {function}"))
    }
}

impl BugCheck {
    /// `0xd1 DRIVER_IRQL_NOT_LESS_OR_EQUAL (0x0, 0x2, 0x0, 0xfffff80000001234)`
    #[must_use]
    pub fn headline(&self) -> String {
        let [a, b, c, d] = self.parameters;
        let name = self.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        format!("{:#x}{name} ({a:#x}, {b:#x}, {c:#x}, {d:#x})", self.code)
    }

    /// The whole story, one line each: headline, place, back trace, registers, modules.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("bug check {}", self.headline()), format!("at {}", self.at)];
        lines.extend(self.frames.iter().enumerate().map(|(number, frame)| format!("#{number} {frame}")));
        lines.extend(self.registers.iter().flat_map(Registers::lines));
        lines.extend(self.modules.iter().map(|module| {
            let Module { name, base, size, time_stamp } = module;
            format!("{base:#018x}..{:#018x} {name} (time stamp {time_stamp:#010x})", base.saturating_add(*size))
        }));
        if !self.complete {
            lines.push("the report ends here; the guest was gone before it was complete".to_owned());
        }
        lines
    }
}

/// Name of a bug check code.
#[must_use]
pub fn name_of(code: u32) -> Option<&'static str> {
    NAMES.iter().find(|(known, _)| *known == code).map(|(_, name)| *name)
}

/// The codes that a kernel, a framework or a driver under test is likely to raise.
const NAMES: &[(u32, &str)] = &[
    (0x0a, "IRQL_NOT_LESS_OR_EQUAL"),
    (0x18, "REFERENCE_BY_POINTER"),
    (0x19, "BAD_POOL_HEADER"),
    (0x1a, "MEMORY_MANAGEMENT"),
    (0x1e, "KMODE_EXCEPTION_NOT_HANDLED"),
    (0x3b, "SYSTEM_SERVICE_EXCEPTION"),
    (0x44, "MULTIPLE_IRP_COMPLETE_REQUESTS"),
    (0x48, "CANCEL_STATE_IN_COMPLETED_IRP"),
    (0x4a, "IRQL_GT_ZERO_AT_SYSTEM_SERVICE"),
    (0x50, "PAGE_FAULT_IN_NONPAGED_AREA"),
    (0x7e, "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED"),
    (0x7f, "UNEXPECTED_KERNEL_MODE_TRAP"),
    (0x80, "NMI_HARDWARE_FAILURE"),
    (0x9f, "DRIVER_POWER_STATE_FAILURE"),
    (0xbe, "ATTEMPTED_WRITE_TO_READONLY_MEMORY"),
    (0xc1, "SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION"),
    (0xc2, "BAD_POOL_CALLER"),
    (0xc4, "DRIVER_VERIFIER_DETECTED_VIOLATION"),
    (0xc5, "DRIVER_CORRUPTED_EXPOOL"),
    (0xc9, "DRIVER_VERIFIER_IOMANAGER_VIOLATION"),
    (0xca, "PNP_DETECTED_FATAL_ERROR"),
    (0xce, "DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS"),
    (0xd1, "DRIVER_IRQL_NOT_LESS_OR_EQUAL"),
    (0xd5, "DRIVER_PAGE_FAULT_IN_FREED_SPECIAL_POOL"),
    (0xe2, "MANUALLY_INITIATED_CRASH"),
    (0xe3, "RESOURCE_NOT_OWNED"),
    (0xef, "CRITICAL_PROCESS_DIED"),
    (0xf7, "DRIVER_OVERRAN_STACK_BUFFER"),
    (0xfc, "ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY"),
    (0xfe, "BUGCODE_USB_DRIVER"),
    (0x101, "CLOCK_WATCHDOG_TIMEOUT"),
    (0x10d, "WDF_VIOLATION"),
    (0x133, "DPC_WATCHDOG_VIOLATION"),
    (0x139, "KERNEL_SECURITY_CHECK_FAILURE"),
    (0x13a, "KERNEL_MODE_HEAP_CORRUPTION"),
    (0x1c8, "MANUALLY_INITIATED_POWER_BUTTON_HOLD"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_headline_carries_code_name_and_parameters() {
        let at = Place { module: "relay.sys".into(), offset: 0x1234, function: Some("relay::queue::presented".into()) };
        let bug_check = BugCheck {
            code: 0xd1,
            name: name_of(0xd1).map(str::to_owned),
            parameters: [0, 2, 0, 0x1234],
            at,
            frames: vec![],
            registers: Some(Registers { general: [7; 16], rip: 0x1234, rflags: 2 }),
            modules: vec![Module { name: "relay.sys".into(), base: 0x1000, size: 0x2000, time_stamp: 9 }],
            complete: true,
        };
        assert_eq!(bug_check.headline(), "0xd1 DRIVER_IRQL_NOT_LESS_OR_EQUAL (0x0, 0x2, 0x0, 0x1234)");
        assert_eq!(bug_check.lines()[1], "at relay.sys+0x1234 relay::queue::presented");
        assert_eq!(bug_check.lines()[6], "rip=0000000000001234 rflags=00000002");
        assert_eq!(bug_check.lines()[7], "0x0000000000001000..0x0000000000003000 relay.sys (time stamp 0x00000009)");
    }

    #[test]
    fn codes_are_listed_once_and_in_order() {
        assert!(NAMES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
