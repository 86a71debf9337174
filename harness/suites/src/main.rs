//! `suite.exe`: what runs inside the guest. On a host it is an ordinary program that says where it belongs.
#![cfg_attr(target_os = "windows", no_std, no_main)]

#[cfg(target_os = "windows")]
suites::program!(suites::all);

#[cfg(not(target_os = "windows"))]
fn main() {
    eprintln!("suite.exe runs inside a guest. To run it: cargo rig run");
    std::process::exit(2);
}
