//! A command a file; each opens with what it does. None knows another, except that `guests` is part of most.

pub(crate) mod bench;
pub(crate) mod build;
pub(crate) mod chart;
pub(crate) mod check;
pub(crate) mod deploy;
pub(crate) mod dist;
pub(crate) mod guests;
pub(crate) mod run;
pub(crate) mod test;
