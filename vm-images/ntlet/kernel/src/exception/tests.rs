//! Exceptions of "drivers": small modules put together here, with code in assembly and the unwind information a compiler would write.

use core::arch::global_asm;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::bug_check;

use super::dispatch::__C_specific_handler;
use crate::exports;
use crate::hal;
use crate::hal::{PAGE_SIZE, Protection};
use crate::loader::modules::{self, Description};
use crate::sim::{self, Simulation};

// One function that calls RDX with RCX, R8, R9 inside two nested blocks: `__try { __try { call } __finally { *[rbx] += 1 } } __except`.
// Its frame: pushed RBX, 32 bytes of home space. RBX holds the address of a counter, taken from R9.
global_asm!(
    ".section .text.module_code, \"ax\"",
    ".balign 16",
    ".global module_code, module_try, module_try_end, module_except, module_finally, module_filter, module_read, module_thunk",
    ".global module_counter, module_handler, module_end",
    "module_code:",
    "push rbx",
    "sub rsp, 32",
    "mov rbx, r9",
    "mov rax, rdx",
    "mov rdx, r8",
    "module_try:",
    "call rax",
    "nop",
    "module_try_end:",
    "jmp module_out",
    "module_except:",
    // RAX holds the exception's code, RBX must be what it was.
    "add dword ptr [rbx], 100",
    "module_out:",
    "add rsp, 32",
    "pop rbx",
    "ret",
    "module_finally:",
    // Called with whether the block was left abnormally, and the frame. RBX is the kernel's here, so the counter's address lies beside.
    "mov rax, [rip + module_counter]",
    "add dword ptr [rax], 10",
    "ret",
    "module_filter:",
    // Takes access violations only: EXCEPTION_POINTERS, record, code.
    "mov rax, [rcx]",
    "cmp dword ptr [rax], 0xc0000005",
    "sete al",
    "movzx eax, al",
    "ret",
    "module_read:",
    "mov eax, [rcx]",
    "ret",
    "module_thunk:",
    "mov rax, [rip + module_handler]",
    "jmp rax",
    ".balign 8",
    "module_counter: .quad 0",
    "module_handler: .quad 0",
    "module_end:",
    ".text",
);

unsafe extern "C" {
    static module_code: u8;
    static module_try: u8;
    static module_try_end: u8;
    static module_except: u8;
    static module_finally: u8;
    static module_filter: u8;
    static module_read: u8;
    static module_thunk: u8;
    static module_counter: u8;
    static module_handler: u8;
    static module_end: u8;
}

fn offset(symbol: *const u8) -> u32 {
    (symbol.addr() - (&raw const module_code).addr()) as u32
}

/// What the `__except` block's filter is.
#[derive(Clone, Copy, PartialEq)]
enum Filter {
    Always,
    AccessViolations,
}

struct Driver {
    base: usize,
    counter: Box<u32>,
}

impl Driver {
    /// Puts the module together at an address of its own.
    fn load(filter: Filter) -> Self {
        let memory = hal().allocate_pages(2, Protection::ReadWrite).unwrap().as_ptr();
        let mut counter = Box::new(0u32);
        let length = offset(&raw const module_end) as usize;
        // SAFETY: two new pages; the code and its tables fit into them.
        unsafe {
            memory.copy_from_nonoverlapping(&raw const module_code, length);
            let word = |symbol| memory.add(offset(symbol) as usize).cast::<usize>();
            word(&raw const module_counter).write((&raw mut *counter).expose_provenance());
            word(&raw const module_handler).write(__C_specific_handler as *const () as usize);
            let table = memory.add(PAGE_SIZE).cast::<u32>();
            let functions = [0, offset(&raw const module_finally), PAGE_SIZE as u32 + 64];
            table.copy_from_nonoverlapping(functions.as_ptr(), 3);
            let unwind = memory.add(PAGE_SIZE + 64);
            // Version 1, both handlers; prologue of 5 bytes; 2 codes: 32 bytes of stack, RBX pushed.
            unwind.copy_from_nonoverlapping([0x19, 5, 2, 0, 5, 0x32, 1, 0x30].as_ptr(), 8);
            let (begin, end) = (offset(&raw const module_try), offset(&raw const module_try_end));
            let filter = if filter == Filter::Always { 1 } else { offset(&raw const module_filter) };
            let tail = [
                offset(&raw const module_thunk),
                2,
                begin,
                end,
                offset(&raw const module_finally),
                0,
                begin,
                end,
                filter,
                offset(&raw const module_except),
            ];
            unwind.add(8).cast::<u32>().copy_from_nonoverlapping(tail.as_ptr(), tail.len());
            hal().protect_pages(core::ptr::NonNull::new(memory).unwrap(), 1, Protection::ReadExecute);
        }
        let base = memory.addr();
        let code = (0, length as u32);
        let module =
            Description { name: "tried.sys", base, size: 2 * PAGE_SIZE, code, functions: (PAGE_SIZE as u32, 1), time_stamp: 0 };
        modules::add(&module).unwrap();
        Self { base, counter }
    }

    fn at(&self, symbol: *const u8) -> usize {
        self.base + offset(symbol) as usize
    }

    /// Calls the function: `callee(first, second)` inside the two blocks. Returns what it returns.
    fn call(&mut self, callee: usize, first: usize, second: usize) -> u32 {
        // SAFETY: the function of the module, with its four arguments.
        unsafe {
            let function: unsafe extern "win64" fn(usize, usize, usize, *mut u32) -> u32 = core::mem::transmute(self.base);
            function(first, callee, second, &raw mut *self.counter)
        }
    }
}

const VIOLATION: u32 = 0xc000_0005;

#[test]
fn code_that_does_not_fail_runs_through() {
    sim::run(|_| {
        let mut driver = Driver::load(Filter::Always);
        let value = 42u32;
        let read = driver.at(&raw const module_read);
        assert_eq!(driver.call(read, (&raw const value).addr(), 0), 42);
        assert_eq!(*driver.counter, 0);
    });
}

#[test]
fn a_fault_is_handled_after_the_inner_block_was_left() {
    sim::run(|_| {
        for filter in [Filter::Always, Filter::AccessViolations] {
            let mut driver = Driver::load(filter);
            let read = driver.at(&raw const module_read);
            // The fault lies in a function without an entry in the function table, called from the block.
            assert_eq!(driver.call(read, 0x1234, 0), VIOLATION);
            assert_eq!(*driver.counter, 110, "10 by __finally, 100 by __except");
        }
    });
}

#[test]
fn a_fault_in_the_kernels_memcpy_is_the_drivers() {
    sim::run(|_| {
        let mut driver = Driver::load(Filter::AccessViolations);
        let mut buffer = [0u8; 64];
        let memcpy = exports::find("memcpy").unwrap();
        let function: unsafe extern "win64" fn(usize, usize, usize, *mut u32) -> u32 =
            // SAFETY: the module's function.
            unsafe { core::mem::transmute(driver.base) };
        // SAFETY: as above. R8, the length for memcpy, still holds what became RDX, the source; more than there is anyway.
        let code = unsafe { function(buffer.as_mut_ptr().addr(), memcpy, 0x4000, &raw mut *driver.counter) };
        assert_eq!((code, *driver.counter), (VIOLATION, 110));
    });
}

#[test]
fn a_raised_status_is_handled_where_the_filter_takes_it() {
    sim::run(|_| {
        let mut driver = Driver::load(Filter::Always);
        let raise = exports::find("ExRaiseStatus").unwrap();
        assert_eq!(driver.call(raise, 0xc000_0120, 0), 0xc000_0120);
        assert_eq!(*driver.counter, 110);
    });
}

#[test]
fn a_function_of_the_kernel_raises_in_its_caller() {
    sim::run(|_| {
        let mut driver = Driver::load(Filter::Always);
        let mut mutex = wdf_sys::wdm::KMUTANT::zeroed();
        // SAFETY: a place for a mutex.
        unsafe { crate::dispatcher::mutex::KeInitializeMutex(&mut mutex, 0) };
        let release = exports::find("KeReleaseMutex").unwrap();
        assert_eq!(driver.call(release, (&raw mut mutex).addr(), 0), NTSTATUS::MUTANT_NOT_OWNED.bits());
        assert_eq!(*driver.counter, 110);
    });
}

#[test]
fn an_exception_that_the_filter_refuses_is_a_bug_check_with_its_code_and_place() {
    let outcome = Simulation::new().run(|_| {
        let mut driver = Driver::load(Filter::AccessViolations);
        let raise = exports::find("ExRaiseStatus").unwrap();
        driver.call(raise, 0xc000_0120, 0);
    });
    let parameters = outcome.expect_bug_check(bug_check::SYSTEM_THREAD_EXCEPTION_NOT_HANDLED);
    assert_eq!(parameters[0], 0xc000_0120);
    let crate::sim::End::BugCheck { at, .. } = outcome.end else { unreachable!() };
    assert_eq!(at.0, "tried.sys");
    assert_eq!(at.1, u64::from(offset(&raw const module_try)) + 2, "right after the call");
}

#[test]
fn a_fault_at_dispatch_level_is_a_bug_check_that_names_the_driver() {
    let outcome = Simulation::new().run(|_| {
        let mut driver = Driver::load(Filter::Always);
        let read = driver.at(&raw const module_read);
        hal().set_irql(2);
        driver.call(read, 0x1234, 0);
    });
    let parameters = outcome.expect_bug_check(bug_check::DRIVER_IRQL_NOT_LESS_OR_EQUAL);
    assert_eq!(parameters[..3], [0x1234, 2, 0]);
    assert!(outcome.has_logged("at tried.sys+"), "{}", outcome.log);
    assert!(outcome.has_logged("#0  tried.sys+"), "{}", outcome.log);
    assert!(outcome.has_logged("#1  tried.sys+"), "the caller, found by the leaf's return address: {}", outcome.log);
}

#[test]
fn fail_fast_is_a_bug_check_with_its_code() {
    let outcome = Simulation::new().run(|_| {
        // SAFETY: ends the run, which is the purpose.
        unsafe { core::arch::asm!("int 0x29", in("rcx") 2u64) };
    });
    assert_eq!(outcome.expect_bug_check(bug_check::KERNEL_SECURITY_CHECK_FAILURE)[0], 2);
}

#[test]
fn a_bug_check_lists_registers_modules_and_calls_what_was_registered() {
    use wdf_sys::wdm::KBUGCHECK_REASON_CALLBACK_RECORD;
    unsafe extern "win64" fn called(reason: i32, _: *mut KBUGCHECK_REASON_CALLBACK_RECORD, _: *mut core::ffi::c_void, size: u32) {
        log!("called for reason {reason} with {size} bytes");
    }
    let outcome = Simulation::new().run(|_| {
        let record = Box::leak(Box::new(KBUGCHECK_REASON_CALLBACK_RECORD::zeroed()));
        // SAFETY: an empty record that stays.
        unsafe {
            assert_eq!(
                crate::bug_check::KeRegisterBugCheckReasonCallback(record, Some(called), 2, c"framework".as_ptr().cast()),
                1
            );
            crate::bug_check::KeBugCheckEx(0x10d, 1, 2, 3, 4)
        }
    });
    assert_eq!(outcome.expect_bug_check(0x10d), [1, 2, 3, 4]);
    for text in
        ["*** bug check 0x10d (0x1, 0x2, 0x3, 0x4)", "rip=", "ntlet (time stamp", "callback of framework", "called for reason 2"]
    {
        assert!(outcome.has_logged(text), "{text}: {}", outcome.log);
    }
}

#[test]
fn a_bug_check_inside_a_bug_check_ends_the_guest_all_the_same() {
    use wdf_sys::wdm::KBUGCHECK_REASON_CALLBACK_RECORD;
    unsafe extern "win64" fn fails(_: i32, _: *mut KBUGCHECK_REASON_CALLBACK_RECORD, _: *mut core::ffi::c_void, _: u32) {
        crate::bug_check::bug_check(0x1, [0; 4])
    }
    let outcome = Simulation::new().run(|_| {
        let record = Box::leak(Box::new(KBUGCHECK_REASON_CALLBACK_RECORD::zeroed()));
        // SAFETY: an empty record that stays.
        unsafe { crate::bug_check::KeRegisterBugCheckReasonCallback(record, Some(fails), 2, core::ptr::null()) };
        crate::bug_check::bug_check(0xe2, [9, 0, 0, 0])
    });
    assert_eq!(outcome.expect_bug_check(0xe2)[0], 9);
    assert!(outcome.has_logged("inside the report of a bug check"));
}
