//! User mode: programs of a few instructions, their system calls and exceptions, and copies to and from their memory.

use core::arch::{asm, global_asm};
use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use kernel::entry::{ExceptionFrame, SystemCallFrame};
use kernel::hal::{AddressSpace, Context, DISPATCH_LEVEL, Irql, PASSIVE_LEVEL, Protection, UserStart};

use super::switching::{EMPTY, Thread};
use super::{Check, MILLISECOND, Outcome, check, hal, log, on_clock, on_software, run_on};
use crate::layout::USER_LIMIT;
use crate::machine::sync::Lock;

pub(super) const CHECKS: &[Check] = &[
    ("a program starts with its arguments and nothing of the kernel's", programs_start_clean),
    ("a system call carries its arguments and result and keeps nonvolatile registers", system_calls_work),
    ("the kernel runs with its own MXCSR during a system call", system_calls_have_kernel_mxcsr),
    ("preemption keeps every register of a program", preemption_keeps_everything),
    ("a program's bad access, privileged instruction or breakpoint is its own exception", exceptions_are_the_programs),
    ("a return address that is no user address faults in the program", bad_return_addresses_fault_in_the_program),
    ("copies to and from a program's memory work or fail without harm", copies_are_safe),
    ("protections of user pages hold, and frames are found through them", user_protections_hold),
    ("user pages cannot lie where programs have no memory, nor on each other", user_pages_have_their_place),
    ("a program's memory comes back when its address space goes", address_spaces_come_back),
    ("an address space that is still loaded elsewhere can go", loaded_spaces_can_go),
];

const CODE: u64 = 0x1_0000;
const DATA: u64 = 0x2_0000;
const STACK: u64 = 0x3_0000;

/// Service numbers of the test's system calls.
const CALL_EXIT: u64 = 0;
const CALL_ADD: u64 = 1;
const CALL_RETURN_TO: u64 = 2;

// Programs: RCX is DATA, RDX is 0x2222. System calls take the number in EAX and arguments in R10, RDX, R8, R9.
global_asm!(
    ".section .rodata.programs, \"a\"",
    ".macro exit_with value",
    "  mov r10, \\value",
    "  xor eax, eax",
    "  syscall",
    "  ud2",
    ".endm",
    "programs_start:",
    // Returns the sum of all registers that must be zero, plus 1000 for each of the others that is wrong.
    "program_clean:",
    "  add rax, rbx",
    "  add rax, rbp",
    "  add rax, rsi",
    "  add rax, rdi",
    "  add rax, r8",
    "  add rax, r9",
    "  add rax, r10",
    "  add rax, r11",
    "  add rax, r12",
    "  add rax, r13",
    "  add rax, r14",
    "  add rax, r15",
    ".irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
    "  movq rbx, xmm\\number",
    "  add rax, rbx",
    ".endr",
    "  sub rcx, {data}",
    "  add rax, rcx",
    "  sub rdx, 0x2222",
    "  add rax, rdx",
    // GS leads to the thread environment block, whose word at 0x30 the test has set.
    "  mov rbx, gs:[0x30]",
    "  sub rbx, 0x77",
    "  add rax, rbx",
    "  exit_with rax",
    "program_calls:",
    "  mov ebx, 1",
    "  mov ebp, 2",
    "  mov esi, 3",
    "  mov edi, 4",
    "  mov r12d, 5",
    "  mov r13d, 6",
    "  mov r14d, 7",
    "  mov r15, rsp",
    ".irp number, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
    "  mov eax, 0x100 + \\number",
    "  movq xmm\\number, rax",
    ".endr",
    "  mov dword ptr [rcx + 64], 0x7f80",
    "  ldmxcsr [rcx + 64]",
    "  mov eax, {add}",
    "  mov r10d, 1000",
    "  mov edx, 200",
    "  mov r8d, 30",
    "  mov r9d, 4",
    "  syscall",
    "  cmp rax, 1234",
    "  jne 2f",
    "  add ebx, ebp",
    "  add ebx, esi",
    "  add ebx, edi",
    "  add ebx, r12d",
    "  add ebx, r13d",
    "  add ebx, r14d",
    "  cmp rbx, 28",
    "  jne 2f",
    "  cmp r15, rsp",
    "  jne 2f",
    ".irp number, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
    "  movq rax, xmm\\number",
    "  cmp rax, 0x100 + \\number",
    "  jne 2f",
    ".endr",
    "  mov ecx, {data}",
    "  stmxcsr [rcx + 68]",
    "  cmp dword ptr [rcx + 68], 0x7f80",
    "  jne 2f",
    "  exit_with 42",
    "2:",
    "  exit_with 13",
    // Spins until the word at DATA is set, checking all its registers; counts rounds at DATA + 8.
    "program_spins:",
    "  mov dword ptr [rcx + 64], 0x5f80",
    "  ldmxcsr [rcx + 64]",
    "  fld1",
    ".irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
    "  mov eax, 0x300 + \\number",
    "  movq xmm\\number, rax",
    ".endr",
    "  mov edx, 0x402",
    "  mov ebp, 0x403",
    "  mov esi, 0x404",
    "  mov edi, 0x405",
    "  mov r8d, 0x406",
    "  mov r9d, 0x407",
    "  mov r10d, 0x408",
    "  mov r11d, 0x409",
    "  mov r12d, 0x40a",
    "  mov r13d, 0x40b",
    "  mov r14d, 0x40c",
    "  mov r15d, 0x40d",
    "3:",
    ".irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
    "  movq rax, xmm\\number",
    "  cmp rax, 0x300 + \\number",
    "  jne 4f",
    ".endr",
    "  lea rax, [rdx + rbp]",
    "  add rax, rsi",
    "  add rax, rdi",
    "  add rax, r8",
    "  add rax, r9",
    "  add rax, r10",
    "  add rax, r11",
    "  add rax, r12",
    "  add rax, r13",
    "  add rax, r14",
    "  add rax, r15",
    "  cmp rax, 0x305a",
    "  jne 4f",
    "  stmxcsr [rcx + 68]",
    "  cmp dword ptr [rcx + 68], 0x5f80",
    "  jne 4f",
    "  fst qword ptr [rcx + 72]",
    "  mov rax, 0x3ff0000000000000",
    "  cmp rax, [rcx + 72]",
    "  jne 4f",
    "  inc qword ptr [rcx + 8]",
    "  cmp qword ptr [rcx], 0",
    "  je 3b",
    "  exit_with 42",
    "4:",
    "  exit_with 13",
    "program_reads_kernel:",
    "  mov rax, 0xffff800000000000",
    "  mov al, [rax]",
    "program_reads_nothing:",
    "  mov al, [0x123456]",
    "program_halts:",
    "  hlt",
    "program_raises_irql:",
    "  mov rax, 15",
    "  mov cr8, rax",
    "program_breaks:",
    "  int3",
    "program_fails_fast:",
    "  int 0x29",
    "program_interrupts:",
    "  int 0x2f",
    "program_writes_code:",
    "  mov [rip + program_writes_code], al",
    "program_executes_data:",
    "  jmp rcx",
    // Asks the kernel to return to the address in RDX's place.
    "program_returns:",
    "  mov r10, [rcx + 16]",
    "  mov eax, {return_to}",
    "  syscall",
    "  ud2",
    "programs_end:",
    data = const DATA,
    add = const CALL_ADD,
    return_to = const CALL_RETURN_TO,
);

unsafe extern "C" {
    static programs_start: u8;
    static programs_end: u8;
    static program_clean: u8;
    static program_calls: u8;
    static program_spins: u8;
    static program_reads_kernel: u8;
    static program_reads_nothing: u8;
    static program_halts: u8;
    static program_raises_irql: u8;
    static program_breaks: u8;
    static program_fails_fast: u8;
    static program_interrupts: u8;
    static program_writes_code: u8;
    static program_executes_data: u8;
    static program_returns: u8;
}

/// How a program came to its end.
#[derive(Clone, Copy, Debug)]
enum End {
    Exit(u64),
    Exception(ExceptionFrame),
}

static END: Lock<Option<End>> = Lock::new(None);
/// Contexts of the check and of its program's thread, and what else the two share.
static MAIN: AtomicU64 = AtomicU64::new(0);
static THREAD: AtomicU64 = AtomicU64::new(0);
static IN_PROGRAM: AtomicBool = AtomicBool::new(false);
static KERNEL_MXCSR: AtomicU32 = AtomicU32::new(0);
static SWITCHES: AtomicU32 = AtomicU32::new(0);

fn switch(from: &AtomicU64, to: &AtomicU64) {
    // SAFETY: both are contexts of `run`, which waits for its thread.
    unsafe { hal().switch(from.load(Ordering::SeqCst) as *mut Context, to.load(Ordering::SeqCst) as *const Context) };
}

/// Ends the program's thread, on that thread.
fn end(how: End) -> ! {
    *END.lock() = Some(how);
    hal().set_irql(DISPATCH_LEVEL);
    IN_PROGRAM.store(false, Ordering::SeqCst);
    switch(&THREAD, &MAIN);
    unreachable!("a program that has ended runs again")
}

pub(super) fn exception(frame: &ExceptionFrame) {
    end(End::Exception(*frame));
}

pub(super) fn system_call(frame: &mut SystemCallFrame) {
    let mut mxcsr = 0u32;
    // SAFETY: stores a control word.
    unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut mxcsr, options(nostack)) };
    KERNEL_MXCSR.store(mxcsr, Ordering::SeqCst);
    match frame.rax {
        CALL_EXIT => end(End::Exit(frame.r10)),
        CALL_ADD => frame.rax = frame.r10 + frame.rdx + frame.r8 + frame.r9,
        CALL_RETURN_TO => frame.rip = frame.r10,
        _ => frame.rax = u64::MAX,
    }
}

/// An address space with code, data and a stack.
fn prepare() -> Result<AddressSpace, super::Failure> {
    let space = hal().create_address_space();
    check!(space.is_some(), "no address space");
    let space = space.expect("checked above");
    for address in [CODE, DATA, STACK] {
        check!(hal().map_user(space, address, 1, Protection::ReadWrite).is_some(), "no user page");
    }
    hal().load_address_space(space);
    // SAFETY: the programs lie between the two symbols.
    let code = unsafe {
        let start = &raw const programs_start;
        core::slice::from_raw_parts(start, (&raw const programs_end) as usize - start as usize)
    };
    check!(hal().copy_to_user(CODE, code).is_ok(), "code cannot be copied to the program");
    check!(hal().copy_to_user(DATA + 0x830, &0x77u64.to_le_bytes()).is_ok(), "data cannot be copied to the program");
    check!(hal().protect_user(space, CODE, 1, Protection::ReadExecute).is_some(), "code cannot be protected");
    Ok(space)
}

/// Runs one of the programs to its end; `meanwhile` runs each time that the program's thread is switched away from before.
fn run(space: AddressSpace, program: *const u8, meanwhile: impl Fn()) -> Result<End, super::Failure> {
    extern "win64" fn entry(program: *mut c_void) -> ! {
        let offset = program as u64 - (&raw const programs_start) as u64;
        let start =
            UserStart { instruction_pointer: CODE + offset, stack_pointer: STACK + 0xff8, argument: DATA, argument2: 0x2222 };
        // SAFETY: the context has an address space and a stack of its own.
        unsafe { hal().enter_user_mode(&start) }
    }
    let thread = Thread::new(entry, program as usize);
    check!(thread.is_some(), "no memory for a stack");
    let mut thread = thread.expect("checked above");
    thread.context.address_space = space.0;
    thread.context.teb = DATA + 0x800;
    let mut own = EMPTY;
    own.kernel_stack_top = thread.context.kernel_stack_top;
    MAIN.store(&raw mut own as u64, Ordering::SeqCst);
    THREAD.store(&raw mut thread.context as u64, Ordering::SeqCst);
    *END.lock() = None;
    let end = loop {
        hal().set_irql(DISPATCH_LEVEL);
        IN_PROGRAM.store(true, Ordering::SeqCst);
        switch(&MAIN, &THREAD);
        hal().set_irql(PASSIVE_LEVEL);
        if let Some(end) = *END.lock() {
            break end;
        }
        meanwhile();
    };
    thread.end();
    Ok(end)
}

/// Runs a program that is not interrupted, in a new address space.
fn run_alone(program: *const u8) -> Result<End, super::Failure> {
    let space = prepare()?;
    let end = run(space, program, || {});
    hal().destroy_address_space(space);
    end
}

fn programs_start_clean() -> Outcome {
    check!(matches!(run_alone(&raw const program_clean)?, End::Exit(0)), "a register was not as it should be");
    Ok(())
}

fn system_calls_work() -> Outcome {
    check!(matches!(run_alone(&raw const program_calls)?, End::Exit(42)), "the program was not content");
    Ok(())
}

fn system_calls_have_kernel_mxcsr() -> Outcome {
    run_alone(&raw const program_calls)?;
    check!(KERNEL_MXCSR.load(Ordering::SeqCst) == 0x1f80, "it is the program's");
    Ok(())
}

/// Puts other values into all registers that a handler, or another thread, may use.
fn spoil_registers(all: bool) {
    // SAFETY: this image does not use XMM registers; x87 is reset, not left with values on its stack.
    unsafe {
        asm!(
            "mov {word:e}, 0xbad", "movq xmm0, {word}", "movq xmm1, {word}", "movq xmm2, {word}", "movq xmm3, {word}",
            "movq xmm4, {word}", "movq xmm5, {word}", word = out(reg) _, out("rcx") _, out("rdx") _, out("r8") _,
            out("r9") _, out("r10") _, out("r11") _
        );
        if all {
            asm!(
                "mov {word:e}, 0xbad", "movq xmm6, {word}", "movq xmm7, {word}", "movq xmm8, {word}", "movq xmm9, {word}",
                "movq xmm10, {word}", "movq xmm11, {word}", "movq xmm12, {word}", "movq xmm13, {word}", "movq xmm14, {word}",
                "movq xmm15, {word}", "fninit", word = out(reg) _
            );
        }
    }
}

fn preemption_keeps_everything() -> Outcome {
    const ROUNDS: u32 = 30;
    // As an executive does: the clock asks for a DISPATCH_LEVEL interrupt, which switches away.
    let clock: fn() = || {
        hal().arm_clock(hal().uptime() + MILLISECOND);
        hal().request_software_interrupt(hal().current_processor(), DISPATCH_LEVEL);
    };
    let dispatch: fn(Irql) = |_| {
        spoil_registers(false);
        if IN_PROGRAM.swap(false, Ordering::SeqCst) {
            SWITCHES.fetch_add(1, Ordering::SeqCst);
            switch(&THREAD, &MAIN);
            spoil_registers(false);
        }
    };
    SWITCHES.store(0, Ordering::SeqCst);
    let space = prepare()?;
    let end = on_clock(clock, || {
        on_software(dispatch, || {
            hal().arm_clock(hal().uptime() + MILLISECOND);
            run(space, &raw const program_spins, || {
                spoil_registers(true);
                if SWITCHES.load(Ordering::SeqCst) >= ROUNDS {
                    let _ = hal().copy_to_user(DATA, &[1]);
                }
            })
        })
    })?;
    hal().arm_clock(u64::MAX);
    let mut rounds = [0; 8];
    let copied = hal().copy_from_user(&mut rounds, DATA + 8);
    hal().destroy_address_space(space);
    check!(copied.is_ok() && u64::from_le_bytes(rounds) > u64::from(ROUNDS), "the program did not get far");
    check!(matches!(end, End::Exit(42)), "a register was not kept");
    check!(SWITCHES.load(Ordering::SeqCst) >= ROUNDS, "the program was not preempted");
    Ok(())
}

fn exceptions_are_the_programs() -> Outcome {
    let kernel = 0xffff_8000_0000_0000;
    let writes_code = CODE + ((&raw const program_writes_code) as u64 - (&raw const programs_start) as u64);
    // Program, vector, fault address, error code.
    let expected = [
        (&raw const program_reads_kernel, 14, kernel, 5),
        (&raw const program_reads_nothing, 14, 0x12_3456, 4),
        (&raw const program_halts, 13, 0, 0),
        (&raw const program_raises_irql, 13, 0, 0),
        (&raw const program_breaks, 3, 0, 0),
        (&raw const program_fails_fast, 0x29, 0, 0),
        (&raw const program_interrupts, 13, 0, 0x2f << 3 | 2),
        (&raw const program_writes_code, 14, writes_code, 7),
        (&raw const program_executes_data, 14, DATA, 0x15),
    ];
    for (program, vector, address, error) in expected {
        let End::Exception(frame) = run_alone(program)? else {
            check!(false, "a program came through");
            continue;
        };
        let right = (frame.vector, frame.fault_address, frame.error_code, frame.cs) == (vector, address, error, 0x33);
        if !right {
            log!(
                "     vector {} address {:#x} error {:#x} cs {:#x}",
                frame.vector,
                frame.fault_address,
                frame.error_code,
                frame.cs
            );
        }
        check!(right, "it was another exception");
    }
    Ok(())
}

fn bad_return_addresses_fault_in_the_program() -> Outcome {
    for address in [0x8000_0000_0000u64, 0xffff_ffff_8020_6000, u64::MAX, USER_LIMIT] {
        let space = prepare()?;
        check!(hal().copy_to_user(DATA + 16, &address.to_le_bytes()).is_ok(), "data cannot be copied to the program");
        let end = run(space, &raw const program_returns, || {});
        hal().destroy_address_space(space);
        let End::Exception(frame) = end? else { continue };
        check!((frame.vector, frame.rip, frame.cs) == (14, USER_LIMIT, 0x33), "it does not");
    }
    Ok(())
}

fn copies_are_safe() -> Outcome {
    let space = prepare()?;
    let mut buffer = [0; 100];
    let pattern: [u8; 100] = core::array::from_fn(|index| index as u8);
    check!(hal().copy_to_user(DATA + 5, &pattern).is_ok(), "to a program's data it fails");
    check!(hal().copy_from_user(&mut buffer, DATA + 5).is_ok() && buffer == pattern, "from a program's data it fails");
    check!(hal().copy_from_user(&mut [], 0).is_ok(), "of nothing it fails");
    check!(hal().copy_to_user(CODE, &pattern).is_err(), "to a program's code it works");
    check!(hal().copy_from_user(&mut buffer, CODE).is_ok(), "from a program's code it fails");
    for bad in
        [0, DATA + 4096 - 50, 0x123_4567, USER_LIMIT - 50, USER_LIMIT, 0x8000_0000_0000, 0xffff_8000_0000_0000, u64::MAX - 50]
    {
        check!(hal().copy_from_user(&mut buffer, bad).is_err(), "from a bad address it works");
        check!(hal().copy_to_user(bad, &pattern).is_err(), "to a bad address it works");
    }
    hal().destroy_address_space(space);
    check!(hal().copy_from_user(&mut buffer, DATA).is_err(), "from a program that is gone it works");
    Ok(())
}

fn user_protections_hold() -> Outcome {
    let space = prepare()?;
    let physical = hal().user_frame(DATA + 123, true);
    check!(physical.is_some(), "a writable page has no frame");
    check!(hal().physical_address((DATA + 1) as *const c_void) == physical.map(|frame| frame * 4096 + 1), "it is another frame");
    check!(hal().user_frame(CODE, false).is_some() && hal().user_frame(CODE, true).is_none(), "code counts as writable");
    check!(hal().user_frame(0xffff_8000_0000_0000, false).is_none(), "a kernel address has a user frame");
    check!(hal().protect_user(space, DATA, 1, Protection::None).is_some(), "a page cannot be protected");
    check!(hal().user_frame(DATA, false).is_none() && hal().copy_from_user(&mut [0], DATA).is_err(), "None can be read");
    check!(hal().protect_user(space, DATA, 1, Protection::Read).is_some(), "a page cannot be protected");
    check!(hal().copy_from_user(&mut [0], DATA).is_ok() && hal().copy_to_user(DATA, &[0]).is_err(), "Read is not read");
    check!(hal().protect_user(space, DATA, 2, Protection::Read).is_none(), "a page that is not there can be protected");
    hal().unmap_user(space, DATA, 1);
    check!(hal().copy_from_user(&mut [0], DATA).is_err(), "an unmapped page can be read");
    hal().destroy_address_space(space);
    Ok(())
}

fn user_pages_have_their_place() -> Outcome {
    let space = prepare()?;
    let map = |address, pages| hal().map_user(space, address, pages, Protection::Read);
    let before = hal().memory().0;
    check!(map(USER_LIMIT, 1).is_none(), "one lies at the limit");
    check!(map(USER_LIMIT - 0x1000, 2).is_none(), "one lies across the limit");
    check!(map(0xffff_8000_0000_0000, 1).is_none(), "one lies in the kernel");
    check!(map(u64::MAX - 0xfff, 1).is_none() && map(0x1000, usize::MAX).is_none(), "addresses wrap");
    check!(map(CODE + 1, 1).is_none(), "one lies askew");
    check!(map(DATA - 0x2000, 3).is_none(), "one lies on another");
    check!(hal().memory().0 == before, "a failure loses memory");
    check!(map(DATA - 0x2000, 2).is_some(), "a failure leaves pages behind");
    check!(hal().copy_from_user(&mut [0], DATA).is_ok(), "a failure unmaps what was there");
    hal().destroy_address_space(space);
    Ok(())
}

fn address_spaces_come_back() -> Outcome {
    run_alone(&raw const program_calls)?;
    let before = hal().memory().0;
    for _ in 0..5 {
        run_alone(&raw const program_calls)?;
    }
    check!(hal().memory().0 == before, "some of it does not");
    Ok(())
}

fn loaded_spaces_can_go() -> Outcome {
    static SPACE: AtomicU64 = AtomicU64::new(0);
    static READABLE: AtomicBool = AtomicBool::new(true);
    for processor in 1..hal().processor_count() {
        let space = prepare()?;
        SPACE.store(space.0, Ordering::SeqCst);
        check!(run_on(processor, || hal().load_address_space(AddressSpace(SPACE.load(Ordering::SeqCst)))), "no answer");
        hal().destroy_address_space(space);
        check!(run_on(processor, || READABLE.store(hal().copy_from_user(&mut [0], DATA).is_ok(), Ordering::SeqCst)), "no answer");
        check!(!READABLE.load(Ordering::SeqCst), "its memory can still be read there");
    }
    Ok(())
}
