//! Fuzzes what `device_model::testing::fuzz::stream` says. `./run stream` in the folder `device-model/fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| device_model::testing::fuzz::stream(data));
