//! WDFCOLLECTION: an ordered set of references to objects of any kind.

use alloc::vec::Vec;

use wdf_sys::wdf::WDF_OBJECT_ATTRIBUTES;
use wdf_sys::{NTSTATUS, WDFCOLLECTION, WDFOBJECT};

use crate::call::ddi;
use crate::lock::default_parent;
use crate::object::attributes::Rules;
use crate::object::{AnyRef, Attributes, Body, Kind, Ref};
use crate::sync::{DISPATCH_LEVEL, SpinLock};
use crate::verifier::{self, Rule};

/// Body of a WDFCOLLECTION.
pub(crate) struct Collection {
    items: SpinLock<Vec<AnyRef>>,
}

impl Body for Collection {
    type Handle = WDFCOLLECTION;
    const KIND: Kind = Kind::Collection;

    fn after_cleanup(this: &Ref<Self>) {
        // References go outside the lock: the last one destroys its object.
        let items = core::mem::take(&mut *this.items.lock());
        drop(items);
    }
}

impl Collection {
    pub(crate) fn add(&self, object: AnyRef) -> Result<(), NTSTATUS> {
        let mut items = self.items.lock();
        items.try_reserve(1).map_err(|_| NTSTATUS::INSUFFICIENT_RESOURCES)?;
        items.push(object);
        Ok(())
    }

    pub(crate) fn get(&self, index: usize) -> Option<AnyRef> {
        self.items.lock().get(index).cloned()
    }

    fn take(&self, index: usize) -> Option<AnyRef> {
        let mut items = self.items.lock();
        (index < items.len()).then(|| items.remove(index))
    }

    fn position(&self, object: WDFOBJECT) -> Option<usize> {
        self.items.lock().iter().position(|item| item.handle() == object)
    }
}

fn handle_of(item: Option<AnyRef>) -> WDFOBJECT {
    item.map_or(WDFOBJECT::NULL, |item| item.handle())
}

ddi! {
    fn WdfCollectionCreate(call, attributes: *mut WDF_OBJECT_ATTRIBUTES, collection: *mut WDFCOLLECTION) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        call.write(collection, WDFCOLLECTION::NULL);
        let created = Attributes::read(call, attributes, Rules::ORDINARY).and_then(|attributes| {
            let body = Collection { items: SpinLock::new(Vec::new()) };
            crate::object::create(call.globals, &attributes, default_parent(call).as_ref(), body)
        });
        call.created(collection, created)
    }

    fn WdfCollectionGetCount(call, collection: WDFCOLLECTION) -> u32 {
        call.object::<Collection>(collection).items.lock().len() as u32
    }

    fn WdfCollectionAdd(call, collection: WDFCOLLECTION, object: WDFOBJECT) -> NTSTATUS {
        let collection = call.object::<Collection>(collection);
        collection.add(call.any(object)).err().unwrap_or(NTSTATUS::SUCCESS)
    }

    fn WdfCollectionRemove(call, collection: WDFCOLLECTION, item: WDFOBJECT) {
        let collection = call.object::<Collection>(collection);
        let _ = call.any(item);
        let removed = collection.position(item).and_then(|index| collection.take(index));
        if removed.is_none() && call.globals.verifies() {
            verifier::violation(call.globals, Rule::InvalidParameter, item.0 as usize, format_args!(
                "WdfCollectionRemove: the object is not in the collection"));
        }
    }

    fn WdfCollectionRemoveItem(call, collection: WDFCOLLECTION, index: u32) {
        let collection = call.object::<Collection>(collection);
        if collection.take(index as usize).is_none() && call.globals.verifies() {
            verifier::violation(call.globals, Rule::InvalidParameter, collection.any().raw() as usize, format_args!(
                "WdfCollectionRemoveItem: there is no item {index}"));
        }
    }

    fn WdfCollectionGetItem(call, collection: WDFCOLLECTION, index: u32) -> WDFOBJECT {
        handle_of(call.object::<Collection>(collection).get(index as usize))
    }

    fn WdfCollectionGetFirstItem(call, collection: WDFCOLLECTION) -> WDFOBJECT {
        handle_of(call.object::<Collection>(collection).get(0))
    }

    fn WdfCollectionGetLastItem(call, collection: WDFCOLLECTION) -> WDFOBJECT {
        let collection = call.object::<Collection>(collection);
        let last = collection.items.lock().last().cloned();
        handle_of(last)
    }
}
