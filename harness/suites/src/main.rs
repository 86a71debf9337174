//! `suite.exe`: what runs inside the guest. On a host it is an ordinary program that says where it belongs.
#![cfg_attr(target_os = "windows", no_std, no_main)]

#[cfg(target_os = "windows")]
mod guest {
    use suites::nt;

    #[global_allocator]
    static HEAP: nt::Heap = nt::Heap::empty();

    /// The program's entry point: no C runtime, no arguments.
    #[unsafe(no_mangle)]
    extern "win64" fn suite_start() -> ! {
        nt::exit_process(match HEAP.start().and_then(|()| suites::serve()) {
            Ok(()) => nt::NTSTATUS::SUCCESS,
            Err(status) => status,
        })
    }

    #[panic_handler]
    fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
        suites::report_panic(info)
    }
}

#[cfg(not(target_os = "windows"))]
fn main() {
    eprintln!("suite.exe runs inside a guest. To run it: cargo rig run");
    std::process::exit(2);
}
