//! The rules of the framework's documentation, and what enforces each.
//!
//! | rule | how |
//! | --- | --- |
//! | [DriverCreate](#drivercreate) | `driver_entry!` makes the driver object; there is no other way to start. Refused by the compiler. |
//! | [RequestCompleted, RequestCompletedLocal](#requestcompleted-requestcompletedlocal) | Completing takes the request. Refused by the compiler; a request that is dropped is completed (tested in `request::tests`). |
//! | [DeferredRequestCompleted](#deferredrequestcompleted) | A deferred request is a value that somebody holds, of which there is no copy. Refused by the compiler; dropping it completes it (tested in `request::tests`). |
//! | [InvalidReqAccess, InvalidReqAccessLocal](#invalidreqaccess-invalidreqaccesslocal) | Forwarding, sending, requeueing, completing take the request. Refused by the compiler. |
//! | [MarkCancOnCancReqLocal](#markcanconcancreqlocal) | A request that is cancelable has another type, which cannot be made cancelable. Refused by the compiler. |
//! | [ReqNotCanceledLocal](#reqnotcanceledlocal) | A cancelable request can only be taken back, and the result says who owns it. Refused by the compiler. |
//! | [StopAckWithinEvtIoStop](#stopackwithinevtiostop) | The notice that can acknowledge lives as long as the callback. Refused by the compiler. |
//! | [KmdfIrql, KmdfIrql2](#kmdfirql-kmdfirql2) | Calls that may wait take a proof of PASSIVE_LEVEL. Refused by the compiler; a spin lock held at the same time is caught by a check of debug builds (tested in `irql::tests`). |
//! | [Reuse, send, cancel](#driver-created-requests) | Each state of a driver-created request has a type of its own. Refused by the compiler. |
//! | [Objects of a device](#objects-of-a-device) | They are kept in the device's context, which nothing can be taken out of, and where nothing can be put that is not the device's (tested in `place::tests`). Refused by the compiler. |
//! | [Lifetimes and threads](#lifetimes-and-threads) | What is given for the time of a callback cannot be kept, what is not for several threads cannot be shared. Refused by the compiler. |
//!
//! What neither types nor checks reach is the author's to see to:
//! - queues, timers, DPCs, work items, interrupts, common buffers and remote targets go with their device. They are kept in its context, where the
//!   framework's cleanup empties their places; what is asked of an empty place is not done, in a context's own `Drop` too. A callback that still runs while
//!   its device is being deleted may be in the middle of asking: `release_hardware` and `self_managed_cleanup` are where to stop what runs by itself;
//! - two locks are released in the order opposite to that in which they were taken, and at the IRQL of an interrupt no other lock is taken;
//! - what is forgotten with `core::mem::forget` is not completed, released or given back.
//!
//! For each rule that the compiler enforces there is an example that keeps it and compiles, and one that breaks it in one place and does not. Both
//! are compiled by a test, which looks at the reason of the refusal, too.
//!
//! # DriverCreate
//!
//! What is no [`Driver`](crate::Driver) cannot be started.
//! ```no_run
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! struct Mine;
//! impl Driver for Mine { const POOL_TAG: [u8; 4] = *b"Mine"; }
//! driver_entry!(Mine);
//! # fn main() {}
//! ```
//!
//! ```compile_fail,E0277
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! struct Mine;
//! driver_entry!(Mine);
//! # fn main() {}
//! ```
//! # RequestCompleted, RequestCompletedLocal
//!
//! A request is completed once.
//! ```no_run
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn handle(request: Request) {
//!     request.complete(NTSTATUS::SUCCESS);
//! }
//! ```
//!
//! ```compile_fail,E0382
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn handle(request: Request) {
//!     request.complete(NTSTATUS::SUCCESS);
//!     request.complete(NTSTATUS::SUCCESS);
//! }
//! ```
//! # DeferredRequestCompleted
//!
//! A request can be kept for later only as a value; there are no copies of it.
//! ```no_run
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn handle(later: &SpinLock<Option<Request>>, request: Request) {
//!     *later.lock() = Some(request);
//! }
//! ```
//!
//! ```compile_fail,E0382
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn handle(later: &SpinLock<Option<Request>>, request: Request) {
//!     *later.lock() = Some(request);
//!     request.complete(NTSTATUS::SUCCESS);
//! }
//! ```
//! # InvalidReqAccess, InvalidReqAccessLocal
//!
//! A request that was forwarded is not the driver's.
//! ```no_run
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn handle(queue: &Queue<Q>, request: Request) -> Result<()> {
//!     let length = request.input()?.len();
//!     request.forward(queue).map_err(|refused| refused.status)
//! }
//! ```
//!
//! ```compile_fail,E0382
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn handle(queue: &Queue<Q>, request: Request) -> Result<()> {
//!     request.forward(queue).map_err(|refused| refused.status)?;
//!     let length = request.input()?.len();
//!     Ok(())
//! }
//! ```
//! Nor is one that was sent.
//! ```no_run
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn handle(device: Device<'_, D>, request: Request) {
//!     let id = request.id();
//!     let _ = request.send_and_forget(device.target());
//! }
//! ```
//!
//! ```compile_fail,E0382
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn handle(device: Device<'_, D>, request: Request) {
//!     let _ = request.send_and_forget(device.target());
//!     let id = request.id();
//! }
//! ```
//! The buffers of a request that is gone are gone too.
//! ```no_run
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn handle(request: Request) -> Result<u32> {
//!     let input = request.input()?;
//!     let value = input.read(0);
//!     request.complete(NTSTATUS::SUCCESS);
//!     value
//! }
//! ```
//!
//! ```compile_fail,E0505
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn handle(request: Request) -> Result<u32> {
//!     let input = request.input()?;
//!     request.complete(NTSTATUS::SUCCESS);
//!     let value = input.read(0);
//!     value
//! }
//! ```
//! # MarkCancOnCancReqLocal
//!
//! A cancelable request cannot be made cancelable again.
//! ```no_run
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn handle(request: Request) -> Result<Cancelable, Refused> {
//!     request.mark_cancelable::<H>(0)
//! }
//! ```
//!
//! ```compile_fail,E0599
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn handle(request: Request) -> Result<Cancelable, Refused> {
//!     request.mark_cancelable::<H>(0)?.mark_cancelable::<H>(0)
//! }
//! ```
//! # ReqNotCanceledLocal
//!
//! A cancelable request cannot be completed, nor forwarded: it is taken back first.
//! ```no_run
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn finish(request: Cancelable) {
//!     if let TakenBack::Request(request) = request.take_back() {
//!         request.complete(NTSTATUS::SUCCESS);
//!     }
//! }
//! ```
//!
//! ```compile_fail,E0599
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn finish(request: Cancelable) {
//!     request.complete(NTSTATUS::SUCCESS);
//! }
//! ```
//!
//! ```compile_fail,E0599
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn finish(queue: &Queue<Q>, request: Cancelable) {
//!     let _ = request.forward(queue);
//! }
//! ```
//! What was cancelled is completed as cancelled, with no other status.
//! ```no_run
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn canceled(request: Canceled) {
//!     request.complete();
//! }
//! ```
//!
//! ```compile_fail,E0061
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn canceled(request: Canceled) {
//!     request.complete(NTSTATUS::SUCCESS);
//! }
//! ```
//! # StopAckWithinEvtIoStop
//!
//! The notice cannot be kept for later.
//! ```no_run
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn stop(stopping: Stopping<'_>, request: Request) {
//!     stopping.keep(&request);
//! #   drop(request);
//! }
//! ```
//!
//! ```compile_fail,E0521
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn stop(stopping: Stopping<'_>, request: Request) {
//!     fn keep_for_later(stopping: Stopping<'static>) {}
//!     keep_for_later(stopping);
//! #   drop(request);
//! }
//! ```
//! It acknowledges once.
//!
//! ```compile_fail,E0382
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn stop(stopping: Stopping<'_>, request: Request) {
//!     stopping.keep(&request);
//!     let _ = stopping.requeue(request);
//! }
//! ```
//! # KmdfIrql, KmdfIrql2
//!
//! A call that waits needs a proof that only callbacks at PASSIVE_LEVEL are given.
//! ```no_run
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn flush(queue: &Queue<Q>, passive: Passive<'_>) {
//!     queue.purge_synchronously(passive);
//! }
//! ```
//!
//! ```compile_fail,E0061
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn flush(queue: &Queue<Q>) {
//!     queue.purge_synchronously();
//! }
//! ```
//! Nobody can make one.
//!
//! ```compile_fail,E0451
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn flush(queue: &Queue<Q>) {
//!     queue.purge_synchronously(Passive { callback: core::marker::PhantomData });
//! }
//! ```
//! Nobody can keep one for a callback that is not given one, since contexts are shared between threads.
//!
//! ```compile_fail,E0277
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! struct Keep { passive: Passive<'static> }
//! context!(Keep);
//! ```
//! # Driver-created requests
//!
//! Created, formatted, sent, completed, reused: in this order.
//! ```no_run
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn again(device: Device<'_, D>, request: Completed<C>) -> Result<()> {
//!     let target = device.target();
//!     let request = request.reuse()?;
//!     let request = request.format_control(target, 0, None, None).map_err(|unsent| unsent.status)?;
//!     request.send(target, SendOptions::default()).map_err(|unsent| unsent.status)
//! }
//! ```
//!
//! ```compile_fail,E0599
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn again(device: Device<'_, D>, request: Completed<C>) -> Result<()> {
//!     let target = device.target();
//!     let request = request.format_control(target, 0, None, None).map_err(|unsent| unsent.status)?;
//!     request.send(target, SendOptions::default()).map_err(|unsent| unsent.status)
//! }
//! ```
//! What asks for nothing cannot be sent.
//!
//! ```compile_fail,E0599
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn send(device: Device<'_, D>, request: Created<C>) {
//!     let _ = request.send(device.target(), SendOptions::default());
//! }
//! ```
//! What was sent cannot be reused, nor sent again; only its completion routine has it.
//!
//! ```compile_fail,E0382
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn send(device: Device<'_, D>, request: Formatted<C>) {
//!     let _ = request.send(device.target(), SendOptions::default());
//!     let _ = request.send(device.target(), SendOptions::default());
//! }
//! ```
//! A request that a queue presented cannot be reused.
//!
//! ```compile_fail,E0599
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn handle(request: Request) {
//!     let _ = request.reuse();
//! }
//! ```
//! A sent request is cancelled through a handle that keeps it alive; the request itself is gone.
//! ```no_run
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn send(device: Device<'_, D>, request: Formatted<C>) -> CancelHandle {
//!     let handle = request.cancel_handle();
//!     let _ = request.send(device.target(), SendOptions::default());
//!     handle
//! }
//! ```
//!
//! ```compile_fail,E0382
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn send(device: Device<'_, D>, request: Formatted<C>) -> CancelHandle {
//!     let _ = request.send(device.target(), SendOptions::default());
//!     request.cancel_handle()
//! }
//! ```
//! # Objects of a device
//!
//! What belongs to a device is made in its context, and used from there.
//! ```no_run
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! struct Home { queue: Queue<Calls>, timer: Timer<Tick> }
//! context!(Home);
//! impl DeviceEvents for Home {}
//! # struct Calls; context!(Calls); impl QueueEvents for Calls { type Device = Home; }
//! # struct Tick; impl Dispatch for Tick { type Device = Home; fn run(_: Device<'_, Home>) {} }
//! fn make(device: Device<'_, Home>) -> Result<()> {
//!     QueueBuilder::manual().create(device, |home| &home.queue, Calls)?;
//!     Timer::<Tick>::create(device, |home| &home.timer, None)?;
//!     device.queue.start();
//!     Ok(())
//! }
//! ```
//!
//! ```compile_fail,E0507
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! struct Home { queue: Queue<Calls>, timer: Timer<Tick> }
//! context!(Home);
//! impl DeviceEvents for Home {}
//! # struct Calls; context!(Calls); impl QueueEvents for Calls { type Device = Home; }
//! # struct Tick; impl Dispatch for Tick { type Device = Home; fn run(_: Device<'_, Home>) {} }
//! fn take(device: Device<'_, Home>) -> Queue<Calls> {
//!     device.context().queue
//! }
//! ```
//! Nobody keeps a way to it for longer than the callback.
//!
//! ```compile_fail,E0521
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! struct Home { queue: Queue<Calls>, timer: Timer<Tick> }
//! context!(Home);
//! impl DeviceEvents for Home {}
//! # struct Calls; context!(Calls); impl QueueEvents for Calls { type Device = Home; }
//! # struct Tick; impl Dispatch for Tick { type Device = Home; fn run(_: Device<'_, Home>) {} }
//! fn keep(device: Device<'_, Home>) {
//!     fn keep_for_later(queue: &'static Queue<Calls>) {}
//!     keep_for_later(&device.context().queue);
//! }
//! ```
//! A place behind a lock could be emptied by whoever has the lock: it is none.
//!
//! ```compile_fail,E0515
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! struct Locked { timer: SpinLock<Timer<Later>> }
//! context!(Locked);
//! impl DeviceEvents for Locked {}
//! # struct Later; impl Dispatch for Later { type Device = Locked; fn run(_: Device<'_, Locked>) {} }
//! fn make(device: Device<'_, Locked>) -> Result<()> {
//!     Timer::<Later>::create(device, |home| &*home.timer.lock(), None)
//! }
//! ```
//! There is no copy of one.
//!
//! ```compile_fail,E0277
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! struct Home { queue: Queue<Calls>, timer: Timer<Tick> }
//! context!(Home);
//! impl DeviceEvents for Home {}
//! # struct Calls; context!(Calls); impl QueueEvents for Calls { type Device = Home; }
//! # struct Tick; impl Dispatch for Tick { type Device = Home; fn run(_: Device<'_, Home>) {} }
//! fn copy(device: Device<'_, Home>) -> Timer<Tick> {
//!     Timer::clone(&device.context().timer)
//! }
//! ```
//! # Lifetimes and threads
//!
//! A file object is there for as long as a request that came through it; a counted reference keeps it longer.
//! ```no_run
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn handle(queue: &Queue<Q>, request: Request) {
//!     let file = request.file().map(File::keep);
//!     request.complete(NTSTATUS::SUCCESS);
//!     let _ = file.map(|file| queue.retrieve_of(file.file()));
//! }
//! ```
//!
//! ```compile_fail,E0505
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn handle(queue: &Queue<Q>, request: Request) {
//!     let file = request.file();
//!     request.complete(NTSTATUS::SUCCESS);
//!     let _ = file.map(|file| queue.retrieve_of(file));
//! }
//! ```
//! Input and output of a request may be the same memory: nobody has both at a time.
//!
//! ```compile_fail,E0502
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn handle(mut request: Request) -> Result<()> {
//!     let input = request.input()?;
//!     let mut output = request.output()?;
//!     output.copy_from(0, input)
//! }
//! ```
//! A device is given for the time of a callback.
//!
//! ```compile_fail,E0521
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn handle(device: Device<'_, D>) {
//!     fn keep_for_later(device: Device<'static, D>) {}
//!     keep_for_later(device);
//! }
//! ```
//! What callbacks on several processors share can be shared.
//!
//! ```compile_fail,E0277
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! struct Counts { presented: core::cell::Cell<u64> }
//! context!(Counts);
//! ```
//! A lock is released on the processor that took it.
//!
//! ```compile_fail,E0277
//! # use wdf::*;
//! # struct D; context!(D); impl DeviceEvents for D {}
//! # struct Q; context!(Q); impl QueueEvents for Q { type Device = D; }
//! # struct H; impl OnCancel for H { type Device = D; fn canceled(_: Device<'_, D>, request: Canceled, _: u64) { request.complete() } }
//! # struct C; context!(C);
//! # impl OnCompletion for C { type Device = D; fn completed(_: Device<'_, D>, _: Completed<C>, _: Result<usize>) {} }
//! fn elsewhere(lock: &'static SpinLock<u64>) {
//!     fn send<T: Send>(value: T) {}
//!     send(lock.lock());
//! }
//! ```
