//! `WdfObject…`: create, delete, reference, contexts, the callback lock.

use core::ffi::c_void;
use core::sync::atomic::Ordering;

use wdf_sys::wdf::{WDF_OBJECT_ATTRIBUTES, WDF_OBJECT_CONTEXT_TYPE_INFO};
use wdf_sys::{NTSTATUS, WDFOBJECT};

use super::attributes::{Rules, unique_type, wanted_context};
use super::{Attributes, Body, Kind, NOT_DELETABLE, context, tree};
use crate::call::ddi;
use crate::history::Event;
use crate::sync::DISPATCH_LEVEL;
use crate::verifier::{self, BugCheck};

/// A general object: nothing but its header and contexts.
pub(crate) struct General;

impl Body for General {
    type Handle = WDFOBJECT;
    const KIND: Kind = Kind::Object;
}

ddi! {
    fn WdfObjectCreate(call, attributes: *mut WDF_OBJECT_ATTRIBUTES, object: *mut WDFOBJECT) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        call.write(object, WDFOBJECT::NULL);
        let attributes = match Attributes::read(call, attributes, Rules::ORDINARY) {
            Ok(attributes) => attributes,
            Err(status) => return status,
        };
        let driver = call.globals.driver();
        match super::create(call.globals, &attributes, driver.as_ref(), General) {
            Ok(created) => call.write(object, created.handle()),
            Err(status) => return status,
        }
        NTSTATUS::SUCCESS
    }

    fn WdfObjectDelete(call, object: WDFOBJECT) {
        call.irql_at_most(DISPATCH_LEVEL);
        let object = call.any(object);
        if object.has_flags(NOT_DELETABLE) {
            crate::report!(call.globals, "a driver must not delete this {}: the framework does", object.kind().name());
            verifier::bug_check(call.globals, BugCheck::ObjectError(object.raw() as usize));
        }
        if !tree::delete(&object) && call.globals.verifies() {
            verifier::violation(call.globals, verifier::Rule::ObjectDeletedTwice, object.raw() as usize, format_args!(
                "WdfObjectDelete of a {} whose deletion has begun already", object.kind().name()));
        }
    }

    fn WdfObjectReferenceActual(call, object: WDFOBJECT, tag: *mut c_void, line: i32, _file: *mut i8) {
        let object = call.any(object);
        object.header().driver_references.fetch_add(1, Ordering::Relaxed);
        call.globals.history.record(Event::Referenced, object.header().handle, tag as usize, line as usize);
        let _ = object.into_counted();
    }

    fn WdfObjectDereferenceActual(call, object: WDFOBJECT, tag: *mut c_void, line: i32, _file: *mut i8) {
        let object = call.any(object);
        call.globals.history.record(Event::Dereferenced, object.header().handle, tag as usize, line as usize);
        if object.header().driver_references.fetch_sub(1, Ordering::Relaxed) <= 0 {
            crate::report!(call.globals, "WdfObjectDereference of a {} without a WdfObjectReference (tag {tag:p}, line {line})",
                object.kind().name());
            verifier::bug_check(call.globals, BugCheck::ObjectError(object.raw() as usize));
        }
        // SAFETY: the reference that WdfObjectReferenceActual left counted; the balance above says that there is one.
        drop(unsafe { super::AnyRef::from_counted(object.as_ptr()) });
    }

    fn WdfObjectGetTypedContextWorker(call, object: WDFOBJECT, info: *const WDF_OBJECT_CONTEXT_TYPE_INFO) -> *mut c_void {
        let object = call.any(object);
        context::find(&object, unique_type(call.required(info))).unwrap_or(core::ptr::null_mut())
    }

    fn WdfObjectAllocateContext(call, object: WDFOBJECT, attributes: *mut WDF_OBJECT_ATTRIBUTES, context: *mut *mut c_void) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        let object = call.any(object);
        let given = call.required(attributes);
        if given.Size as usize != size_of::<WDF_OBJECT_ATTRIBUTES>() {
            return NTSTATUS::INFO_LENGTH_MISMATCH;
        }
        if !given.ParentObject.is_null() {
            return NTSTATUS::WDF_PARENT_ASSIGNMENT_NOT_ALLOWED;
        }
        let wanted = match wanted_context(call, given) {
            Ok(Some(wanted)) if !wanted.unique_type.is_null() => wanted,
            Ok(_) => return NTSTATUS::OBJECT_NAME_INVALID,
            Err(status) => return status,
        };
        match super::context::add(&object, &wanted) {
            Ok((memory, is_new)) => {
                call.write_optional(context, memory);
                if is_new { NTSTATUS::SUCCESS } else { NTSTATUS::OBJECT_NAME_EXISTS }
            }
            Err(status) => status,
        }
    }

    fn WdfObjectContextGetObject(call, memory: *mut c_void) -> WDFOBJECT {
        match super::context::object_of(memory).and_then(super::handles::acquire) {
            Some(header) => {
                // SAFETY: `acquire` counted the reference.
                let object = unsafe { super::AnyRef::from_counted(header) };
                object.handle()
            }
            None => {
                crate::report!(call.globals, "WdfObjectContextGetObject: {memory:p} is no context of an object");
                verifier::bug_check(call.globals, BugCheck::InvalidHandle(memory as usize, Kind::Object));
            }
        }
    }

    fn WdfObjectAcquireLock(call, object: WDFOBJECT) {
        let object = call.any(object);
        match crate::lock::callback_lock_of(object.clone()) {
            Some(lock) => lock.acquire(),
            None => verifier::bug_check(call.globals, BugCheck::InvalidLockOperation(object.raw() as usize, 0)),
        }
    }

    fn WdfObjectReleaseLock(call, object: WDFOBJECT) {
        let object = call.any(object);
        match crate::lock::callback_lock_of(object.clone()) {
            Some(lock) => lock.release(),
            None => verifier::bug_check(call.globals, BugCheck::InvalidLockOperation(object.raw() as usize, 1)),
        }
    }

    fn WdfObjectQuery(call, object: WDFOBJECT, guid: *const wdf_sys::GUID, _length: u32, _buffer: *mut c_void) -> NTSTATUS {
        // Reserved for system use: the framework knows no GUID to ask for.
        let _ = (call.any(object), call.required(guid));
        NTSTATUS::NOT_FOUND
    }
}
