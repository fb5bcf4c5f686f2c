//! The contract, as wasmtime's bindgen sees it. Events are lent to the guest (`Borrowing`): they are lowered from slices of the
//! stored message, nothing of them is copied on the host's side.

#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "channel",
    exports: { default: async },
    ownership: Borrowing { duplicate_if_necessary: true },
});
