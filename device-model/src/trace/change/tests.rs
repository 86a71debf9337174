use std::io::Cursor;

use super::super::replay::Story;
use super::super::{Compression, Header, Level, Reader, VirtioShape, What, Writer};
use super::*;

/// A story of a virtio device: `chains` commands, each given back at once, with registers around them that nobody looks at.
fn story(chains: u64) -> Story {
    let shape = VirtioShape { id: 21, queue_sizes: vec![256], features: 0, config_size: 0 };
    let header = Header { level: Level::Virtio, device: "relay".into(), virtio: Some(shape), ..Header::default() };
    let mut writer = Writer::new(Vec::new(), &header, Compression::None).unwrap();
    writer.append(0, false, &What::Start { features: 0 }).unwrap();
    for tag in 0..chains {
        let bytes = tag.to_le_bytes();
        let taken = What::Taken { queue: 0, head: tag as u16, tag: Some(tag), readable: 8, writable: 8, data: &bytes };
        writer.append(tag, false, &What::Write { bar: 2, offset: 0x3000, data: &[0, 0] }).unwrap();
        writer.append(tag, false, &taken).unwrap();
        writer.append(tag, false, &What::Given { queue: 0, head: tag as u16, written: 8, data: &bytes }).unwrap();
    }
    writer.finish().unwrap();
    reread(writer.into_inner())
}

fn reread(bytes: Vec<u8>) -> Story {
    Story::read(&mut Reader::new(Cursor::new(bytes)).unwrap()).unwrap()
}

fn tags(story: &Story, kept: &Kept) -> Vec<u64> {
    kept.events().filter_map(|number| if let What::Taken { tag, .. } = story.event(number).what { tag } else { None }).collect()
}

#[test]
fn a_seed_changes_answers_of_the_device_and_nothing_that_the_driver_did() {
    let before = story(50);
    for seed in 0..200 {
        let (mut bytes, mut again) = (Vec::new(), Vec::new());
        let told = mutate(&before, seed, &mut bytes).unwrap();
        assert_eq!(told, mutate(&before, seed, &mut again).unwrap());
        assert_eq!(bytes, again, "a seed is a mutation for ever");
        assert!(!told.is_empty());
        let after = reread(bytes);
        assert_eq!(after.len(), before.len());
        for number in 0..after.len() {
            if !told.iter().any(|mutation| mutation.event == number as u64) {
                assert_eq!(after.event(number), before.event(number), "seed {seed}");
            } else {
                assert!(matches!(after.event(number).what, What::Given { head, .. } if head == (number as u16 - 1) / 3));
            }
        }
    }
    let differing = (0..200).filter(|seed| {
        let mut bytes = Vec::new();
        mutate(&before, *seed, &mut bytes).unwrap().iter().any(|mutation| mutation.was != mutation.is)
    });
    assert!(differing.count() > 180, "nearly every seed changes something");
}

#[test]
fn a_story_without_answers_stays_as_it_is() {
    let before = story(0);
    assert_eq!(mutate(&before, 1, std::io::sink()).unwrap(), []);
}

#[test]
fn a_failure_that_needs_two_chains_shrinks_to_these_two() {
    let story = story(100);
    let mut tries = 0;
    let fails = |kept: &Kept| -> Result<bool, ()> {
        tries += 1;
        let tags = tags(&story, kept);
        Ok(tags.contains(&17) && tags.contains(&60))
    };
    let at = (0..story.len()).find(|number| matches!(story.event(*number).what, What::Taken { tag: Some(60), .. }));
    let kept = shrink(&story, at.map(|at| at as u64), fails, || false).unwrap();
    assert_eq!(tags(&story, &kept), [17, 60]);
    assert!(kept.len() <= 4, "two chains, of which the second was not given back: {kept:?}");
    assert!(tries < 100, "{tries}");

    let mut bytes = Vec::new();
    write_part(&story, &kept, &mut bytes).unwrap();
    assert_eq!(reread(bytes).len(), kept.len());
}

#[test]
fn shrinking_ends_when_its_time_is_over_and_keeps_what_it_has() {
    let story = story(100);
    let mut left = 3;
    let is_over = || {
        left -= 1;
        left == 0
    };
    let kept = shrink(&story, None, |kept| Ok::<_, ()>(tags(&story, kept).contains(&99)), is_over).unwrap();
    assert!(tags(&story, &kept).contains(&99) && kept.len() < story.len());
}

#[test]
fn a_failure_that_needs_everything_stays_whole() {
    let story = story(4);
    let whole = tags(&story, &Kept::all(&story));
    let kept = shrink(&story, None, |kept| Ok::<_, ()>(tags(&story, kept) == whole), || false).unwrap();
    assert_eq!(tags(&story, &kept), whole);
}
