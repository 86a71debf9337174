//! The function table that drivers are bound to: for each index the function, or a stub that stops the guest with the function's name.

use wdf_sys::wdf::functions::{FUNCTION_NAMES, LATER_FUNCTIONS};
use wdf_sys::wdm::constants::bug_check::WDF_VIOLATION;
use wdf_sys::wdm::functions::KeBugCheckEx;

/// Entries of the longest released table, that of 1.31 and 1.33.
pub(crate) const ENTRIES: usize = 458;

/// First parameter of the bug check for a function that is missing; no code of the framework's own has this value.
const MISSING_FUNCTION: usize = 0x4d495353;

/// A table of function addresses.
#[repr(transparent)]
pub(crate) struct Table(pub(crate) [*const (); ENTRIES]);

// SAFETY: addresses of functions, which nobody changes.
unsafe impl Sync for Table {}

/// Every module's functions.
const MODULES: &[&[(usize, *const ())]] = &[
    crate::collection::FUNCTIONS,
    crate::device::create::FUNCTIONS,
    crate::device::dispatch::FUNCTIONS,
    crate::device::functions::FUNCTIONS,
    crate::device::names::FUNCTIONS,
    crate::device::names::LATER,
    crate::device::properties::FUNCTIONS,
    crate::device::relations::FUNCTIONS,
    crate::device_init::FUNCTIONS,
    crate::dma::FUNCTIONS,
    crate::dma::transaction::FUNCTIONS,
    crate::dma::transaction::LATER,
    crate::dpc::FUNCTIONS,
    crate::driver::FUNCTIONS,
    crate::driver::LATER,
    crate::file::functions::FUNCTIONS,
    crate::file::functions::LATER,
    crate::interrupt::functions::FUNCTIONS,
    crate::lock::FUNCTIONS,
    crate::memory::FUNCTIONS,
    crate::miscellany::FUNCTIONS,
    crate::object::functions::FUNCTIONS,
    crate::pnp::functions::FUNCTIONS,
    crate::query_interface::FUNCTIONS,
    crate::queue::changes::FUNCTIONS,
    crate::queue::functions::FUNCTIONS,
    crate::queue::reserve::FUNCTIONS,
    crate::registry::FUNCTIONS,
    crate::request::buffers::FUNCTIONS,
    crate::request::complete::FUNCTIONS,
    crate::request::create::FUNCTIONS,
    crate::request::functions::FUNCTIONS,
    crate::request::functions::LATER,
    crate::request::ownership::FUNCTIONS,
    crate::request::send::FUNCTIONS,
    crate::resources::FUNCTIONS,
    crate::string::FUNCTIONS,
    crate::target::format::FUNCTIONS,
    crate::target::functions::FUNCTIONS,
    crate::target::synchronous::FUNCTIONS,
    crate::timer::FUNCTIONS,
    crate::wmi::functions::FUNCTIONS,
    crate::work_item::FUNCTIONS,
];

const fn build() -> Table {
    let mut table = STUBS;
    let mut module = 0;
    while module < MODULES.len() {
        let mut at = 0;
        while at < MODULES[module].len() {
            let (index, function) = MODULES[module][at];
            table[index] = function;
            at += 1;
        }
        module += 1;
    }
    Table(table)
}

/// The table.
pub(crate) static TABLE: Table = build();

/// Name of the function at an index.
pub(crate) fn name(index: usize) -> &'static str {
    match FUNCTION_NAMES.get(index) {
        Some(name) => name,
        None => LATER_FUNCTIONS.iter().find(|(at, _)| *at == index).map_or("an unknown function", |(_, name)| name),
    }
}

/// Stands in for a function that does not exist yet. Its caller's arguments do not matter: it does not return.
unsafe extern "win64" fn missing<const INDEX: usize>() {
    stop(INDEX)
}

#[cold]
fn stop(index: usize) -> ! {
    crate::text::report("ntlet", format_args!("{} (index {index}) is not implemented", name(index)));
    // SAFETY: does not return.
    unsafe { KeBugCheckEx(WDF_VIOLATION, MISSING_FUNCTION, index, 0, 0) }
}

macro_rules! stubs {
    ($($index:literal)*) => {
        [$(missing::<$index> as unsafe extern "win64" fn() as *const ()),*]
    };
}

#[rustfmt::skip]
const STUBS: [*const (); ENTRIES] = stubs! {
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41
    42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79 80
    81 82 83 84 85 86 87 88 89 90 91 92 93 94 95 96 97 98 99 100 101 102 103 104 105 106 107 108 109 110 111 112 113 114
    115 116 117 118 119 120 121 122 123 124 125 126 127 128 129 130 131 132 133 134 135 136 137 138 139 140 141 142 143
    144 145 146 147 148 149 150 151 152 153 154 155 156 157 158 159 160 161 162 163 164 165 166 167 168 169 170 171 172
    173 174 175 176 177 178 179 180 181 182 183 184 185 186 187 188 189 190 191 192 193 194 195 196 197 198 199 200 201
    202 203 204 205 206 207 208 209 210 211 212 213 214 215 216 217 218 219 220 221 222 223 224 225 226 227 228 229 230
    231 232 233 234 235 236 237 238 239 240 241 242 243 244 245 246 247 248 249 250 251 252 253 254 255 256 257 258 259
    260 261 262 263 264 265 266 267 268 269 270 271 272 273 274 275 276 277 278 279 280 281 282 283 284 285 286 287 288
    289 290 291 292 293 294 295 296 297 298 299 300 301 302 303 304 305 306 307 308 309 310 311 312 313 314 315 316 317
    318 319 320 321 322 323 324 325 326 327 328 329 330 331 332 333 334 335 336 337 338 339 340 341 342 343 344 345 346
    347 348 349 350 351 352 353 354 355 356 357 358 359 360 361 362 363 364 365 366 367 368 369 370 371 372 373 374 375
    376 377 378 379 380 381 382 383 384 385 386 387 388 389 390 391 392 393 394 395 396 397 398 399 400 401 402 403 404
    405 406 407 408 409 410 411 412 413 414 415 416 417 418 419 420 421 422 423 424 425 426 427 428 429 430 431 432 433
    434 435 436 437 438 439 440 441 442 443 444 445 446 447 448 449 450 451 452 453 454 455 456 457
};

/// Indices of the functions that are real.
#[cfg(test)]
pub(crate) fn real() -> impl Iterator<Item = usize> {
    MODULES.iter().flat_map(|module| module.iter().map(|(index, _)| *index))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_function_is_defined_at_most_once_and_the_rest_are_stubs() {
        let mut seen = BTreeSet::new();
        for index in real() {
            assert!(seen.insert(index), "{} is defined twice", name(index));
        }
        println!("{} of the {ENTRIES} functions of KMDF 1.33 are real", seen.len());
        let missing: Vec<_> = (0..ENTRIES).filter(|index| !seen.contains(index)).map(name).collect();
        println!("missing: {}", missing.join(", "));
    }

    /// What is not here yet: groups of functions by what their names begin with, and single ones.
    const TO_COME: &[(&str, &[&str])] = &[
        ("child lists and PDOs", &["WdfChildList", "WdfPdo", "WdfFdoInitSetDefaultChildList", "WdfFdoGetDefaultChildList"]),
        (
            "static children",
            &["WdfFdoAddStaticChild", "WdfFdoLockStaticChild", "WdfFdoRetrieveNextStaticChild", "WdfFdoUnlockStaticChild"],
        ),
        ("what a bus says to its children", &["WdfDeviceSetBusInformationForChildren"]),
        ("USB", &["WdfUsb"]),
        (
            "DMA by a channel of the system",
            &[
                "WdfDmaEnablerConfigureSystemProfile",
                "WdfDmaTransactionSetChannelConfigurationCallback",
                "WdfDmaTransactionSetTransferCompleteCallback",
                "WdfDmaTransactionSetDeviceAddressOffset",
                "WdfDmaTransactionStopSystemTransfer",
                "WdfDmaTransactionWdmGetTransferContext",
            ],
        ),
        (
            "DMA transactions with resources taken beforehand",
            &[
                "WdfDmaTransactionSetImmediateExecution",
                "WdfDmaTransactionAllocateResources",
                "WdfDmaTransactionFreeResources",
                "WdfDmaTransactionCancel",
            ],
        ),
        ("power by component", &["WdfDeviceWdmAssignPowerFrameworkSettings"]),
        ("class extensions", &["WdfCx", "WdfGetTriageInfo"]),
        ("companions in user mode", &["WdfDeviceRetrieveCompanionTarget", "WdfCompanionTarget"]),
        ("NDIS miniports", &["WdfDeviceMiniportCreate", "WdfDriverMiniportUnload"]),
        ("reserved for the system", &["WdfDriverRegisterTraceInfo", "WdfDriverErrorReportApiMissing"]),
    ];

    #[test]
    fn every_function_is_real_or_belongs_to_what_is_to_come() {
        let real: BTreeSet<usize> = real().collect();
        let group = |name: &str| TO_COME.iter().position(|(_, begins)| begins.iter().any(|begin| name.starts_with(begin)));
        let mut missing = vec![0; TO_COME.len()];
        for index in 0..ENTRIES {
            match (real.contains(&index), group(name(index))) {
                (true, None) => {}
                (false, Some(group)) => missing[group] += 1,
                (true, Some(_)) => panic!("{} is real, and counted among what is to come", name(index)),
                (false, None) => panic!("{} is missing, and in no group of what is to come", name(index)),
            }
        }
        for ((what, _), count) in TO_COME.iter().zip(missing) {
            println!("to come: {count} functions, {what}");
        }
    }

    #[test]
    fn every_index_of_the_longest_table_has_a_name() {
        for index in 0..ENTRIES {
            assert_ne!(name(index), "an unknown function", "{index}");
        }
    }
}
