//! An image as it lies in memory, as bytes: copying it there, relocating it, binding its imports, looking up its exports. The
//! bytes may be a driver's pages or a buffer that becomes a program; every offset in them is checked.

use core::fmt;

use super::image::{Image, ImageError, directory, field_u16, field_u32, field_u64};

/// Longest name of a module or function.
const LONGEST_NAME: usize = 512;
/// Most modules that an image imports from, and most functions in all.
const MOST_MODULES: usize = 256;
const MOST_FUNCTIONS: usize = 1 << 16;
/// Set in an import that is a number.
const BY_ORDINAL: u64 = 1 << 63;
/// Types of relocations.
const RELOCATE_NOTHING: u16 = 0;
const RELOCATE_64: u16 = 10;
/// What a security cookie is before anyone has set it.
const DEFAULT_COOKIE: u64 = 0x0000_2b99_2ddf_a232;

/// What is imported or exported: a name or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symbol<'a> {
    /// By name.
    Name(&'a str),
    /// By number.
    Ordinal(u16),
}

impl fmt::Display for Symbol<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ordinal(number) => write!(f, "#{number}"),
        }
    }
}

/// Why binding failed: the image is damaged, or what the resolver said.
#[derive(Debug)]
pub enum BindError<E> {
    /// The image.
    Image(ImageError),
    /// The resolver.
    Resolve(E),
}

impl<E> From<ImageError> for BindError<E> {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

/// Copies headers and sections to where they lie in memory. `memory` has the image's size and is zero.
///
/// # Errors
/// When it has another size.
pub fn lay_out(image: &Image<'_>, memory: &mut [u8]) -> Result<(), ImageError> {
    if memory.len() != image.size as usize {
        return Err(ImageError::Header("the memory has another size than the image"));
    }
    memory[..image.header_size as usize].copy_from_slice(image.headers());
    for section in image.sections() {
        let bytes = image.bytes_of(section);
        let start = section.address as usize;
        memory[start..start + bytes.len()].copy_from_slice(bytes);
    }
    Ok(())
}

/// Makes an image fit the address it lies at.
///
/// # Errors
/// [`ImageError::FixedBase`], or damaged relocations.
pub fn relocate(image: &Image<'_>, memory: &mut [u8], base: u64) -> Result<(), ImageError> {
    let delta = base.wrapping_sub(image.base);
    if delta == 0 {
        return Ok(());
    }
    let damaged = ImageError::Table("relocation table");
    let Some((start, size)) = image.directory(directory::RELOCATION) else {
        // A small image may have nothing to relocate.
        return if image.is_fixed() { Err(ImageError::FixedBase) } else { Ok(()) };
    };
    let end = (start + size) as usize;
    let mut at = start as usize;
    while at + 8 <= end {
        let page = field_u32(memory, at).ok_or(damaged)? as usize;
        let length = field_u32(memory, at + 4).ok_or(damaged)? as usize;
        if length == 0 && page == 0 {
            break;
        }
        if length < 8 || !length.is_multiple_of(2) || at + length > end {
            return Err(damaged);
        }
        for entry in (at + 8..at + length).step_by(2) {
            let entry = field_u16(memory, entry).ok_or(damaged)?;
            let place = page + usize::from(entry & 0xfff);
            match entry >> 12 {
                RELOCATE_NOTHING => {}
                RELOCATE_64 => {
                    let value = field_u64(memory, place).ok_or(damaged)?.wrapping_add(delta);
                    memory[place..place + 8].copy_from_slice(&value.to_le_bytes());
                }
                _ => return Err(ImageError::Table("relocation table (a type that x64 does not have)")),
            }
        }
        at += length;
    }
    Ok(())
}

/// A terminated name inside an image.
fn name_at(memory: &[u8], offset: usize) -> Option<&str> {
    let bytes = memory.get(offset..)?;
    let length = bytes.iter().take(LONGEST_NAME).position(|&byte| byte == 0)?;
    core::str::from_utf8(&bytes[..length])
        .ok()
        .filter(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()))
}

/// Fills in the addresses of what the image imports. `resolve` is told module and symbol.
///
/// # Errors
/// A damaged table, or the resolver's own.
pub fn bind<E>(
    image: &Image<'_>,
    memory: &mut [u8],
    mut resolve: impl FnMut(&str, Symbol<'_>) -> Result<u64, E>,
) -> Result<(), BindError<E>> {
    let damaged = ImageError::Table("import table");
    let Some((start, _)) = image.directory(directory::IMPORT) else { return Ok(()) };
    let mut left = MOST_FUNCTIONS;
    for number in 0..=MOST_MODULES {
        let at = start as usize + number * 20;
        let value = |memory: &[u8], offset| field_u32(memory, at + offset).ok_or(damaged);
        let (lookup, name, thunks) = (value(memory, 0)?, value(memory, 12)?, value(memory, 16)?);
        if name == 0 && thunks == 0 {
            return Ok(());
        }
        let lookup = if lookup == 0 { thunks } else { lookup } as usize;
        for index in 0.. {
            let entry = field_u64(memory, lookup + index * 8).ok_or(damaged)?;
            if entry == 0 {
                break;
            }
            left = left.checked_sub(1).ok_or(damaged)?;
            let module = name_at(memory, name as usize).ok_or(damaged)?;
            let symbol = if entry & BY_ORDINAL != 0 {
                Symbol::Ordinal(entry as u16)
            } else {
                // A hint of two bytes precedes the name.
                Symbol::Name(name_at(memory, (entry as u32 as usize).checked_add(2).ok_or(damaged)?).ok_or(damaged)?)
            };
            let address = resolve(module, symbol).map_err(BindError::Resolve)?;
            let place = thunks as usize + index * 8;
            memory.get_mut(place..place + 8).ok_or(damaged)?.copy_from_slice(&address.to_le_bytes());
        }
    }
    Err(damaged.into())
}

/// Sets the cookie that the compiler's stack checks compare with, if the image has one.
///
/// # Errors
/// A cookie outside the image.
pub fn set_cookie(image: &Image<'_>, memory: &mut [u8], base: u64, random: u64) -> Result<(), ImageError> {
    const COOKIE_FIELD: usize = 88;
    let Some((start, size)) = image.directory(directory::LOAD_CONFIGURATION) else { return Ok(()) };
    // The structure begins with its own size; older linkers write a directory size that is smaller.
    let size = size.max(field_u32(memory, start as usize).unwrap_or(0)) as usize;
    if size < COOKIE_FIELD + 8 {
        return Ok(());
    }
    let damaged = ImageError::Table("load configuration");
    let address = field_u64(memory, start as usize + COOKIE_FIELD).ok_or(damaged)?;
    if address == 0 {
        return Ok(());
    }
    let place = usize::try_from(address.wrapping_sub(base)).map_err(|_| damaged)?;
    if field_u64(memory, place).ok_or(damaged)? == DEFAULT_COOKIE {
        // The upper 16 bits are zero, so that a string copied over it does not restore it.
        let cookie = match random & 0x0000_ffff_ffff_ffff {
            0 | DEFAULT_COOKIE => DEFAULT_COOKIE + 1,
            cookie => cookie,
        };
        memory[place..place + 8].copy_from_slice(&cookie.to_le_bytes());
    }
    Ok(())
}

/// What looking up an export finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export<'a> {
    /// It lies at this offset.
    At(u32),
    /// It is another module's: `MODULE.Name` or `MODULE.#12`.
    Forwarded(&'a str),
}

/// Looks up what an image in memory exports. `table` is its export directory: offset and size.
#[must_use]
pub fn find_export<'a>(memory: &'a [u8], table: (u32, u32), symbol: Symbol<'_>) -> Option<Export<'a>> {
    let start = table.0 as usize;
    let value = |offset: usize| field_u32(memory, start + offset);
    let (base, functions, names) = (value(16)?, value(20)? as usize, value(24)? as usize);
    let (addresses, name_table, ordinals) = (value(28)? as usize, value(32)? as usize, value(36)? as usize);
    let index = match symbol {
        Symbol::Ordinal(number) => u32::from(number).checked_sub(base)? as usize,
        Symbol::Name(wanted) => {
            let matches = |&index: &usize| {
                let name = field_u32(memory, name_table.saturating_add(index * 4)).and_then(|at| name_at(memory, at as usize));
                name == Some(wanted)
            };
            let index = (0..names.min(MOST_FUNCTIONS)).find(matches)?;
            usize::from(field_u16(memory, ordinals.checked_add(index * 2)?)?)
        }
    };
    let address = (index < functions).then(|| field_u32(memory, addresses.checked_add(index.checked_mul(4)?)?)).flatten()?;
    if address.wrapping_sub(table.0) < table.1 {
        return name_at(memory, address as usize).map(Export::Forwarded);
    }
    (address != 0 && (address as usize) < memory.len()).then_some(Export::At(address))
}
