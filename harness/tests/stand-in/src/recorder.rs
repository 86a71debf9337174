//! A test piece: a program that writes down how it was called. Copies of it, under the names of a system's own tools, show what a script orders
//! where there is no such system (harness/tests/agent.rs).
#![cfg_attr(target_os = "windows", no_std, no_main)]

#[cfg(target_os = "windows")]
mod program {
    use core::ffi::c_void;
    use core::ptr::null_mut;

    // What the compiler expects of a C runtime is there, too.
    use suites::nt::Heap;

    /// Nothing here allocates.
    #[global_allocator]
    static HEAP: Heap = Heap::empty();

    /// `C:\record.txt`, a line a call.
    const RECORD: &[u16] = &utf16(b"C:\\record.txt\0");
    const APPEND: u32 = 4;
    const SHARE_ALL: u32 = 7;
    const OPEN_ALWAYS: u32 = 4;
    /// Longest line; what is longer is cut.
    const LONGEST: usize = 1000;

    #[rustfmt::skip]
    #[link(name = "kernel32.dll", kind = "raw-dylib", modifiers = "+verbatim")]
    unsafe extern "system" {
        fn GetCommandLineW() -> *const u16;
        fn CreateFileW(
            name: *const u16, access: u32, share: u32, security: *const c_void, disposition: u32, flags: u32, template: *mut c_void,
        ) -> *mut c_void;
        fn WriteFile(file: *mut c_void, buffer: *const u8, length: u32, written: *mut u32, overlapped: *mut c_void) -> i32;
        fn ExitProcess(code: u32) -> !;
    }

    const fn utf16<const LENGTH: usize>(text: &[u8; LENGTH]) -> [u16; LENGTH] {
        let (mut units, mut at) = ([0; LENGTH], 0);
        while at < LENGTH {
            units[at] = text[at] as u16;
            at += 1;
        }
        units
    }

    /// The program's entry point: no C runtime.
    #[unsafe(no_mangle)]
    extern "win64" fn recorder_start() -> ! {
        let (mut line, mut length) = ([0; LONGEST + 1], 0);
        // SAFETY: the text belongs to the process and ends with a zero; the name ends with a zero, the line has that length.
        unsafe {
            let text = GetCommandLineW();
            while length < LONGEST && *text.add(length) != 0 {
                line[length] = u8::try_from(*text.add(length)).unwrap_or(b'?');
                length += 1;
            }
            line[length] = b'\n';
            let file = CreateFileW(RECORD.as_ptr(), APPEND, SHARE_ALL, null_mut(), OPEN_ALWAYS, 0, null_mut());
            let mut written = 0;
            let done = WriteFile(file, line.as_ptr(), length as u32 + 1, &mut written, null_mut());
            ExitProcess(u32::from(done == 0))
        }
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        // SAFETY: no pointers.
        unsafe { ExitProcess(1) }
    }
}

#[cfg(not(target_os = "windows"))]
fn main() {
    eprintln!("a test piece, which runs as a program of Windows: see harness/tests/agent.rs");
    std::process::exit(2);
}
