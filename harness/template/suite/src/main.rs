//! The tests of gadget.sys, as they run inside a guest. On a host this is an ordinary program that says where it belongs.
#![cfg_attr(target_os = "windows", no_std, no_main)]

#[cfg(target_os = "windows")]
extern crate alloc;

#[cfg(target_os = "windows")]
mod tests;

#[cfg(target_os = "windows")]
suites::program!(|| tests::TESTS.iter());

#[cfg(not(target_os = "windows"))]
fn main() {
    eprintln!("this program runs inside a guest: cargo rig run");
    std::process::exit(2);
}
