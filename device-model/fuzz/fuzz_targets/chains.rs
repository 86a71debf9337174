//! Fuzzes what `device_model::testing::fuzz::chains` says. `cargo +nightly fuzz run chains` in the folder `device-model`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| device_model::testing::fuzz::chains(data));
