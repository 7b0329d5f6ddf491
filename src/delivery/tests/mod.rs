//! Delivery against scripted receivers and a store in memory.
