//! Interrupt vectors: what each is for, and which of those for devices are taken.

/// Software interrupt at `APC_LEVEL`.
pub const APC: u8 = 0x1f;
/// Software interrupt at `DISPATCH_LEVEL`.
pub const DISPATCH: u8 = 0x2f;
/// First vector of devices. A vector's upper half is its IRQL.
pub const FIRST_DEVICE: u8 = 0x30;
/// Last vector of devices.
pub const LAST_DEVICE: u8 = 0xcf;
/// The local timer.
pub const CLOCK: u8 = 0xd1;
/// One processor asking another for something.
pub const INTERPROCESSOR: u8 = 0xe1;
/// What a local interrupt controller delivers when the reason has gone away; needs no acknowledgement.
pub const SPURIOUS: u8 = 0xff;

/// `int 0x29`: fail fast.
pub const FAIL_FAST: u8 = 0x29;
/// `int 0x2c`: assertion failure.
pub const ASSERTION: u8 = 0x2c;
/// `int 0x2d`: debug service.
pub const DEBUG_SERVICE: u8 = 0x2d;

/// Which device vectors are taken, and on which processor.
#[derive(Debug)]
pub struct Vectors {
    /// Index: vector minus [`FIRST_DEVICE`].
    owners: [Option<u8>; (LAST_DEVICE - FIRST_DEVICE) as usize + 1],
}

impl Default for Vectors {
    fn default() -> Self {
        Self::new()
    }
}

impl Vectors {
    /// All free.
    pub const fn new() -> Vectors {
        Vectors { owners: [None; (LAST_DEVICE - FIRST_DEVICE) as usize + 1] }
    }

    /// Takes a vector at `irql` on the processor of `candidates` (a bit mask) that has the fewest. A vector has one owner in
    /// the whole machine, so that its number alone says whose it is.
    pub fn allocate(&mut self, irql: u8, candidates: u64) -> Option<(u8, u32)> {
        if !(FIRST_DEVICE >> 4..=LAST_DEVICE >> 4).contains(&irql) {
            return None;
        }
        let processor =
            (0..64).filter(|processor| candidates >> processor & 1 != 0).min_by_key(|&processor| self.load(processor))?;
        let vector = (irql << 4..=irql << 4 | 0xf).find(|&vector| self.owners[Self::index(vector)].is_none())?;
        self.owners[Self::index(vector)] = Some(processor);
        Some((vector, u32::from(processor)))
    }

    /// Gives a vector back. `false` when it was not taken.
    pub fn release(&mut self, vector: u8) -> bool {
        (FIRST_DEVICE..=LAST_DEVICE).contains(&vector) && self.owners[Self::index(vector)].take().is_some()
    }

    fn load(&self, processor: u8) -> usize {
        self.owners.iter().filter(|&&owner| owner == Some(processor)).count()
    }

    fn index(vector: u8) -> usize {
        usize::from(vector - FIRST_DEVICE)
    }
}

/// Address and data of a message that raises `vector` on the processor whose local interrupt controller has id `apic`; fixed
/// delivery, edge-triggered. `None` when the id does not fit a message without interrupt remapping.
pub fn message(vector: u8, apic: u32) -> Option<(u64, u32)> {
    (apic < 0xff).then(|| (0xfee0_0000 | u64::from(apic) << 12, u32::from(vector)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_irql_has_sixteen_vectors_and_then_none() {
        let mut vectors = Vectors::new();

        let taken: Vec<u8> = std::iter::from_fn(|| vectors.allocate(5, 1)).map(|(vector, _)| vector).collect();

        assert_eq!(taken, (0x50..=0x5f).collect::<Vec<u8>>());
    }

    #[test]
    fn only_device_levels_have_vectors() {
        let mut vectors = Vectors::new();

        assert_eq!(vectors.allocate(2, 1), None);
        assert_eq!(vectors.allocate(13, 1), None);
        assert_eq!(vectors.allocate(255, 1), None);
        assert_eq!(vectors.allocate(12, 0), None);
    }

    #[test]
    fn vectors_are_spread_over_the_processors_that_are_allowed() {
        let mut vectors = Vectors::new();

        let processors: Vec<u32> = (0..4).map(|_| vectors.allocate(6, 0b1010).unwrap().1).collect();

        assert_eq!(processors, [1, 3, 1, 3]);
    }

    #[test]
    fn a_vector_can_be_given_back_once() {
        let mut vectors = Vectors::new();
        let (vector, _) = vectors.allocate(4, 1).unwrap();

        assert!(vectors.release(vector));
        assert!(!vectors.release(vector));
        assert!(!vectors.release(CLOCK));
        assert!(!vectors.release(0));
    }

    #[test]
    fn a_message_names_processor_and_vector() {
        assert_eq!(message(0x51, 3), Some((0xfee0_3000, 0x51)));
        assert_eq!(message(0x51, 0xff), None);
    }
}
