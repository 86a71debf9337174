//! A small writer of PE files: code, data, imports, exports, relocations, load configuration.

/// Offsets of the sections in the image.
pub(super) const TEXT: u32 = 0x1000;
pub(super) const DATA: u32 = 0x2000;
const TABLES: u32 = 0x3000;
const RELOCATIONS: u32 = 0x4000;

/// Places in the file.
pub(super) mod header {
    pub(in super::super) const START: usize = 0x40;
    pub(in super::super) const MACHINE: usize = START + 4;
    pub(in super::super) const OPTIONAL: usize = START + 24;
    pub(in super::super) const DIRECTORIES: usize = OPTIONAL + 112;
    pub(in super::super) const SECTIONS: usize = DIRECTORIES + 16 * 8;
}

const BASE: u64 = 0x1_4000_0000;

/// Where things lie that the code wants to know.
pub(super) struct Addresses {
    thunks: u32,
}

impl Addresses {
    /// Offset of the bound address of an import.
    pub(super) fn import(&self, number: u32) -> u32 {
        self.thunks + number * 8
    }
}

/// A file that is being put together.
#[derive(Default)]
pub(super) struct PeFile {
    module: &'static str,
    imports: Vec<&'static str>,
    exports: Vec<(&'static str, u32)>,
    forwards: Vec<(&'static str, &'static str)>,
    code: Vec<u8>,
    is_discardable: bool,
    has_cookie: bool,
}

/// Bytes that grow, at an offset of the image.
struct Table {
    bytes: Vec<u8>,
}

impl Table {
    fn here(&self) -> u32 {
        TABLES + self.bytes.len() as u32
    }

    fn add(&mut self, bytes: &[u8]) -> u32 {
        let at = self.here();
        self.bytes.extend_from_slice(bytes);
        at
    }

    fn add_u32(&mut self, values: &[u32]) -> u32 {
        let at = self.here();
        values.iter().for_each(|value| self.bytes.extend(value.to_le_bytes()));
        at
    }

    fn add_text(&mut self, text: &str) -> u32 {
        let at = self.add(text.as_bytes());
        self.bytes.push(0);
        at
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
    }
}

impl PeFile {
    pub(super) fn new() -> Self {
        Self { code: vec![0xc3], ..Self::default() }
    }

    pub(super) fn import(mut self, module: &'static str, symbols: &[&'static str]) -> Self {
        (self.module, self.imports) = (module, symbols.to_vec());
        self
    }

    pub(super) fn exports(mut self, exports: &[(&'static str, u32)]) -> Self {
        self.exports = exports.to_vec();
        self
    }

    pub(super) fn forward(mut self, name: &'static str, to: &'static str) -> Self {
        self.forwards.push((name, to));
        self
    }

    pub(super) fn code(mut self, code: impl FnOnce(&Addresses) -> Vec<u8>) -> Self {
        // The import table comes first, the bound addresses right behind its two descriptors.
        self.code = code(&Addresses { thunks: TABLES + 40 });
        self
    }

    pub(super) fn discardable(mut self) -> Self {
        self.is_discardable = true;
        self
    }

    pub(super) fn cookie(mut self) -> Self {
        self.has_cookie = true;
        self
    }

    fn write_imports(&self, table: &mut Table) -> (u32, u32) {
        let count = self.imports.len() as u32;
        // Descriptor, end of descriptors, bound addresses; the lookup table is the same at first.
        let thunks = TABLES + 40;
        let names = thunks + (count + 1) * 8;
        let mut texts = Table { bytes: Vec::new() };
        let mut entries = Vec::new();
        for symbol in &self.imports {
            match symbol.strip_prefix('#') {
                Some(number) => entries.push(1u64 << 63 | number.parse::<u64>().unwrap()),
                None => {
                    entries.push(u64::from(names + texts.bytes.len() as u32));
                    texts.add(&[0, 0]);
                    texts.add_text(symbol);
                }
            }
        }
        let module = names + texts.bytes.len() as u32;
        texts.add_text(self.module);
        table.add_u32(&[0, 0, 0, module, thunks, 0, 0, 0, 0, 0]);
        entries.push(0);
        entries.iter().for_each(|entry| table.bytes.extend(entry.to_le_bytes()));
        table.add(&texts.bytes);
        table.align();
        (TABLES, 40)
    }

    fn write_exports(&self, table: &mut Table) -> (u32, u32) {
        let start = table.here();
        let count = self.exports.len() as u32;
        let addresses = start + 40;
        let (names, ordinals) = (addresses + count * 4, addresses + count * 8);
        table.add_u32(&[0, 0, 0, 0, 1, count, count, addresses, names, ordinals]);
        let texts = ordinals + (count * 2).next_multiple_of(4);
        let mut text = Table { bytes: Vec::new() };
        let mut place = |value: &str| {
            let at = texts + text.bytes.len() as u32;
            text.add_text(value);
            at
        };
        let targets: Vec<u32> = self
            .exports
            .iter()
            .map(|&(name, address)| match self.forwards.iter().find(|(forwarded, _)| *forwarded == name) {
                Some((_, to)) => place(to),
                None => address,
            })
            .collect();
        let name_places: Vec<u32> = self.exports.iter().map(|(name, _)| place(name)).collect();
        table.add_u32(&targets);
        table.add_u32(&name_places);
        (0..count as u16).for_each(|number| table.bytes.extend(number.to_le_bytes()));
        table.bytes.resize((texts - TABLES) as usize, 0);
        table.add(&text.bytes);
        table.align();
        (start, table.here() - start)
    }

    /// The file.
    pub(super) fn build(&self) -> Vec<u8> {
        let mut tables = Table { bytes: Vec::new() };
        let mut directories = [(0u32, 0u32); 16];
        if !self.module.is_empty() {
            directories[1] = self.write_imports(&mut tables);
        }
        if !self.exports.is_empty() {
            directories[0] = self.write_exports(&mut tables);
        }
        let mut data = Vec::from((BASE + u64::from(DATA)).to_le_bytes());
        let mut relocations = vec![DATA, 0xc, 0xa000];
        if self.has_cookie {
            data.extend(0x2b99_2ddf_a232_u64.to_le_bytes());
            let start = tables.add_u32(&[112]);
            tables.bytes.resize(tables.bytes.len() + 84, 0);
            tables.add(&(BASE + u64::from(DATA) + 8).to_le_bytes());
            tables.bytes.resize(tables.bytes.len() + 16, 0);
            directories[10] = (start, 112);
            // The pointer to the cookie has to be relocated too: at 88 in the load configuration.
            let pointer = start + 88;
            relocations.extend([pointer & !0xfff, 0xc, 0xa000 | pointer & 0xfff]);
        }
        let relocations: Vec<u8> = relocations.iter().flat_map(|value: &u32| value.to_le_bytes()).collect();
        directories[5] = (RELOCATIONS, relocations.len() as u32);
        let text = if self.is_discardable { 0x6200_0020u32 } else { 0x6000_0020 };
        let sections = [
            (TEXT, &self.code, text),
            (DATA, &data, 0xc000_0040),
            (TABLES, &tables.bytes, 0xc000_0040),
            (RELOCATIONS, &relocations, 0x4200_0040),
        ];
        let empty = Vec::from([0u8; 8]);
        let sections = sections.map(|(at, bytes, kind)| (at, if bytes.is_empty() { &empty } else { bytes }, kind));
        write_file(&directories, &sections)
    }
}

fn write_file(directories: &[(u32, u32); 16], sections: &[(u32, &Vec<u8>, u32)]) -> Vec<u8> {
    const HEADERS: u32 = 0x400;
    let mut file = vec![0u8; HEADERS as usize];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &(header::START as u32).to_le_bytes());
    put(header::START, b"PE\0\0");
    put(header::MACHINE, &0x8664u16.to_le_bytes());
    put(header::MACHINE + 2, &(sections.len() as u16).to_le_bytes());
    put(header::MACHINE + 16, &240u16.to_le_bytes());
    put(header::MACHINE + 18, &0x22u16.to_le_bytes());
    let optional = header::OPTIONAL;
    put(optional, &0x20bu16.to_le_bytes());
    let numbers = [(16, TEXT), (32, 0x1000), (36, 0x200), (56, 0x5000), (60, HEADERS), (68, 1 | 0x160 << 16), (108, 16)];
    numbers.iter().for_each(|&(at, value)| put(optional + at, &value.to_le_bytes()));
    put(optional + 24, &BASE.to_le_bytes());
    for (number, (address, size)) in directories.iter().enumerate() {
        put(header::DIRECTORIES + number * 8, &address.to_le_bytes());
        put(header::DIRECTORIES + number * 8 + 4, &size.to_le_bytes());
    }
    let mut place = HEADERS;
    for (number, (address, bytes, kind)) in sections.iter().enumerate() {
        let at = header::SECTIONS + number * 40;
        put(at, format!(".s{number}").as_bytes());
        let size = bytes.len() as u32;
        [(8, size), (12, *address), (16, size), (20, place), (36, *kind)]
            .iter()
            .for_each(|&(offset, value)| put(at + offset, &value.to_le_bytes()));
        place += size;
    }
    sections.iter().for_each(|(_, bytes, _)| file.extend_from_slice(bytes));
    file
}
