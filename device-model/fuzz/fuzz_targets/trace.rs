//! Fuzzes what `device_model::testing::fuzz::trace` says. `./run trace` in the folder `device-model/fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| device_model::testing::fuzz::trace(data));
