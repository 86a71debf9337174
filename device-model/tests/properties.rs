//! Random input for what the fuzz targets run, and for plans of faults.

use device_model::fault::{Kind, Plan};
use device_model::testing::fuzz;
use proptest::prelude::*;

/// Messages that are not all nonsense: real commands with bodies near the right length.
fn message() -> impl Strategy<Value = Vec<u8>> {
    (any::<u16>(), 0..20_u16, 0..64_usize, prop_oneof![Just(0_u32), any::<u32>()], prop::collection::vec(small_byte(), 64))
        .prop_map(|(id, command, length, flags, body)| {
            let size = (16 + length) as u32;
            let header = [&id.to_le_bytes()[..], &command.to_le_bytes(), &size.to_le_bytes(), &flags.to_le_bytes(), &[0; 4]];
            [&header.concat()[..], &body[..length]].concat()
        })
}

/// Bytes that make small numbers likely.
fn small_byte() -> impl Strategy<Value = u8> {
    prop_oneof![4 => Just(0_u8), 3 => 0..40_u8, 1 => any::<u8>()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_messages_breaks_a_session(messages in prop::collection::vec(message(), 0..40)) {
        fuzz::messages(&messages.concat());
    }

    #[test]
    fn no_sequence_of_accesses_breaks_a_function(accesses in prop::collection::vec(small_byte(), 0..2000)) {
        fuzz::registers(&accesses);
    }

    #[test]
    fn no_content_of_memory_breaks_a_device(memory in prop::collection::vec(small_byte(), 0..3000)) {
        fuzz::chains(&memory);
    }

    #[test]
    fn no_trace_breaks_its_reader(bytes in prop::collection::vec(small_byte(), 0..300)) {
        fuzz::trace(&bytes);
    }

    #[test]
    fn no_text_breaks_the_reading_of_a_plan(text in ".{0,200}", kind in 0..Kind::ALL.len(), line in "[a-z]{1,11} = [-0-9a-z.\"]{0,20}") {
        let _ = Plan::from_toml(&text);
        let plan = format!("seed = 1\n[[fault]]\nkind = \"{}\"\n{line}\n", Kind::ALL[kind].name());
        if let Err(error) = Plan::from_toml(&plan) {
            prop_assert!((1..=5).contains(&error.line), "{error}");
        }
    }
}
