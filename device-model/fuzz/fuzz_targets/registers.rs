//! Fuzzes what `device_model::testing::fuzz::registers` says. `./run registers` in the folder `device-model/fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| device_model::testing::fuzz::registers(data));
