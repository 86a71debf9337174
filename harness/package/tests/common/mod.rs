//! A driver for tests.
#![allow(dead_code, reason = "each test program uses a part")]

/// Offset of the PE headers in the drivers of these tests.
pub(crate) const HEADERS: usize = 0x80;

pub(crate) fn put(image: &mut [u8], offset: usize, bytes: &[u8]) {
    image[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// A driver of one instruction, with the section flags and headers that a linked one has.
pub(crate) fn driver() -> Vec<u8> {
    let mut image = vec![0; 0x600];
    put(&mut image, 0, b"MZ");
    put(&mut image, 0x3c, &[HEADERS as u8]);
    put(&mut image, HEADERS, b"PE\0\0");
    let file = HEADERS + 4;
    for (offset, value) in [(0, 0x8664u16), (2, 2), (16, 240), (18, 0x22)] {
        put(&mut image, file + offset, &value.to_le_bytes());
    }
    let optional = file + 20;
    for (offset, value) in [(0, 0x20bu16), (40, 10), (48, 10), (68, 1), (70, 0x4160)] {
        put(&mut image, optional + offset, &value.to_le_bytes());
    }
    let fields = [(16, 0x1000u32), (28, 0x4000_0000), (32, 0x1000), (36, 0x200), (56, 0x3000), (60, 0x200), (108, 16)];
    for (offset, value) in fields {
        put(&mut image, optional + offset, &value.to_le_bytes());
    }
    // Directory 5: the relocations, one empty block.
    put(&mut image, optional + 112 + 5 * 8, &[0x2000u32, 8].map(u32::to_le_bytes).concat());
    let sections = optional + 240;
    for (index, name, address, flags) in [(0, b".text\0\0\0", 0x1000u32, 0x6800_0020u32), (1, b".reloc\0\0", 0x2000, 0x4200_0040)]
    {
        let header = sections + index * 40;
        put(&mut image, header, name);
        let place = [0x10, address, 0x200, 0x200 + 0x200 * index as u32];
        put(&mut image, header + 8, &place.map(u32::to_le_bytes).concat());
        put(&mut image, header + 36, &flags.to_le_bytes());
    }
    image[0x200] = 0xc3;
    image[0x404] = 8;
    image
}
