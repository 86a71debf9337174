//! Fuzzes what `device_model::testing::fuzz::registers` says. `cargo +nightly fuzz run registers` in the folder `device-model`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| device_model::testing::fuzz::registers(data));
