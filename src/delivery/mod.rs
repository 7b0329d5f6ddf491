//! Gets each event to each target, or buries it where an operator finds it.

pub mod retry;
pub mod target;
pub mod verdict;

/// `[targets.*]`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Every target.
    pub targets: Vec<target::Settings>,
}
