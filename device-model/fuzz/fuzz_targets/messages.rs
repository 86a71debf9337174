//! Fuzzes what `device_model::testing::fuzz::messages` says. `./run messages` in the folder `device-model/fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| device_model::testing::fuzz::messages(data));
