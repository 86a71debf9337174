//! The driver file: whether a PE image is one that the Windows kernel loads. Read with the `object` crate, whose authors
//! know nothing of our linker arguments.

use object::LittleEndian as LE;
use object::pe::{
    IMAGE_DIRECTORY_ENTRY_BASERELOC, IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE, IMAGE_DLLCHARACTERISTICS_NX_COMPAT,
    IMAGE_FILE_MACHINE_AMD64, IMAGE_SCN_MEM_DISCARDABLE, IMAGE_SCN_MEM_EXECUTE, IMAGE_SCN_MEM_NOT_PAGED, IMAGE_SCN_MEM_WRITE,
    IMAGE_SUBSYSTEM_NATIVE, ImageNtHeaders64,
};
use object::read::pe::{ImageNtHeaders as _, ImageOptionalHeader as _, PeFile32, PeFile64};

use crate::authenticode::Layout;
use crate::finding::Findings;

/// Libraries whose names end in `.dll` and that the kernel has.
const KERNEL_LIBRARIES: [&str; 6] = ["hal.dll", "ci.dll", "kdcom.dll", "bootvid.dll", "pshed.dll", "cng.dll"];
/// Sections that may be paged out, apart from those whose names begin with PAGE: nothing reads them at a raised IRQL.
const PAGED: [&str; 4] = [".rsrc", ".edata", ".reloc", ".debug"];

/// Most libraries that a driver imports from; each name may be as long as a hostile file.
const MOST_LIBRARIES: usize = 64;

/// Looks at a driver file; `place` is its name in the findings.
pub fn examine(image: &[u8], place: &str, findings: &mut Findings) {
    if is_32_bit(image) {
        let why = "the rigs run x64 guests, and x64 Windows loads no 32-bit driver";
        return findings.error(place, "a 32-bit driver", why, "build for x86_64-pc-windows-msvc");
    }
    if let Err(error) = try_examine(image, place, findings) {
        findings.error(
            place,
            format!("not a 64-bit PE file: {error}"),
            "Windows loads nothing else as a driver",
            "build it again",
        );
    }
}

/// Whether it is a PE file of a 32-bit system.
fn is_32_bit(image: &[u8]) -> bool {
    PeFile32::parse(image).is_ok()
}

fn try_examine(image: &[u8], place: &str, findings: &mut Findings) -> Result<(), Box<dyn std::error::Error>> {
    let file = PeFile64::parse(image)?;
    let headers: &ImageNtHeaders64 = file.nt_headers();
    let optional = headers.optional_header();
    let machine = headers.file_header().machine.get(LE);
    if machine != IMAGE_FILE_MACHINE_AMD64 {
        let why = "the rigs run x64 guests, which load no other code";
        findings.error(place, format!("machine type {machine:#x} is not x64"), why, "build for x86_64-pc-windows-msvc");
    }
    if optional.subsystem() != IMAGE_SUBSYSTEM_NATIVE {
        let what = format!("subsystem {} is not native", optional.subsystem());
        findings.error(place, what, "the kernel loads native images only", "link with /SUBSYSTEM:NATIVE");
    }
    if optional.address_of_entry_point() == 0 {
        findings.error(place, "no entry point", "the kernel calls it to start the driver", "link with /ENTRY:<the entry stub>");
    }
    let hardening = IMAGE_DLLCHARACTERISTICS_NX_COMPAT | IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE;
    if optional.dll_characteristics() & hardening != hardening {
        let why = "Windows' certification and memory integrity want both";
        findings.warning(place, "not marked for no-execute data and a random base", why, "link with /NXCOMPAT /DYNAMICBASE");
    }
    if file.data_directory(IMAGE_DIRECTORY_ENTRY_BASERELOC).is_none_or(|table| table.size.get(LE) == 0) {
        let why = "the kernel loads drivers anywhere and has to correct their addresses";
        findings.warning(place, "no relocations", why, "link without /FIXED, unless the driver holds no address");
    }
    sections(&file, place, findings);
    names(&file, place, findings)?;
    sums(image, optional.check_sum(), place, findings)?;
    Ok(())
}

fn sections(file: &PeFile64<'_>, place: &str, findings: &mut Findings) {
    for section in file.section_table().iter() {
        let name = String::from_utf8_lossy(section.raw_name()).into_owned();
        let flags = section.characteristics.get(LE);
        let has = |flag| flags & flag != 0;
        if has(IMAGE_SCN_MEM_EXECUTE) && has(IMAGE_SCN_MEM_WRITE) {
            let why = "memory integrity refuses a driver with such a section";
            findings.error(place, format!("section {name} is writable and executable"), why, "split code from data");
        }
        let may_page = name.starts_with("PAGE") || PAGED.contains(&name.as_str()) || has(IMAGE_SCN_MEM_DISCARDABLE);
        if !may_page && !has(IMAGE_SCN_MEM_NOT_PAGED) {
            let why = "it may be paged out; touching it at DISPATCH_LEVEL is then a bug check";
            findings.warning(
                place,
                format!("section {name} is pageable"),
                why,
                "link it as not paged (lld: /SECTION with the letter P)",
            );
        }
        if name == "INIT" && !has(IMAGE_SCN_MEM_DISCARDABLE) {
            let why = "it stays in memory for nothing";
            findings.warning(place, "section INIT is not discardable", why, "link with /SECTION:INIT,ERD");
        }
    }
}

/// What it takes from others, and what it gives.
fn names(file: &PeFile64<'_>, place: &str, findings: &mut Findings) -> object::Result<()> {
    let exports = file.export_table()?.map_or(0, |table| table.addresses().len());
    if exports != 0 {
        let why = "a driver needs none, and some tools call every export";
        findings.warning(place, format!("it exports {exports} symbols"), why, "export nothing");
    }
    let Some(table) = file.import_table()? else {
        return Ok(());
    };
    let (mut descriptors, mut count) = (table.descriptors()?, 0);
    while let Some(descriptor) = descriptors.next()? {
        count += 1;
        if count > MOST_LIBRARIES {
            let why = "what it imports was not looked at any further";
            findings.error(place, format!("it imports from more than {MOST_LIBRARIES} libraries"), why, "link it again");
            break;
        }
        let library = String::from_utf8_lossy(table.name(descriptor.name.get(LE))?).to_lowercase();
        let in_kernel = KERNEL_LIBRARIES.contains(&library.as_str()) || !library.ends_with(".dll");
        if !in_kernel && !library.starts_with("ext-ms-") {
            let why = "the kernel has no such library, so the driver does not load";
            findings.error(place, format!("it imports from {library}"), why, "use what ntoskrnl.exe offers");
        }
    }
    Ok(())
}

fn sums(image: &[u8], written: u32, place: &str, findings: &mut Findings) -> Result<(), crate::asn1::Malformed> {
    let computed = checksum(image, Layout::of(image)?.checksum);
    if written != computed {
        let what = format!("the header's checksum is {written:#x}, the file's is {computed:#x}");
        let why = "the kernel refuses a driver whose checksum is wrong";
        findings.error(place, what, why, "link with /RELEASE, and sign with a tool that corrects it");
    }
    Ok(())
}

/// The PE checksum: the ones'-complement sum of the file's 16-bit words without the four bytes at `field`, plus its length.
pub(crate) fn checksum(image: &[u8], field: usize) -> u32 {
    let word = |(index, pair): (usize, &[u8])| match pair {
        _ if (field..field + 4).contains(&(index * 2)) => 0,
        [low, high] => u64::from(u16::from_le_bytes([*low, *high])),
        _ => pair.first().copied().map_or(0, u64::from),
    };
    let mut sum: u64 = image.chunks(2).enumerate().map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u32::try_from(sum + image.len() as u64).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_pe_file_is_refused_with_the_readers_reason() {
        for bytes in [&b""[..], b"\x7fELF", &[0x4d; 4096]] {
            let mut findings = Findings::default();
            examine(bytes, "a.sys", &mut findings);
            assert!(findings.all()[0].what.starts_with("not a 64-bit PE file: "), "{:?}", findings.all());
        }
    }

    #[test]
    fn a_checksum_leaves_its_own_field_out() {
        let mut image = vec![1u8, 2, 3, 4, 0, 0, 0, 0, 9];
        let computed = checksum(&image, 4);
        assert_eq!(computed, 0x0201 + 0x0403 + 9 + 9);
        image[4..8].copy_from_slice(&computed.to_le_bytes());
        assert_eq!(checksum(&image, 4), computed);
    }
}
