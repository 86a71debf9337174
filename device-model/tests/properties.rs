//! Random input for what the fuzz targets run, and the corpus that they have found so far.

use std::path::Path;

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
}

#[test]
fn the_kept_corpus_passes() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut count = 0;
    for (name, run) in [("messages", fuzz::messages as fn(&[u8])), ("registers", fuzz::registers), ("chains", fuzz::chains)] {
        for entry in std::fs::read_dir(corpus.join(name)).unwrap() {
            run(&std::fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
    }
    assert!(count > 0, "the corpus has gone");
}
