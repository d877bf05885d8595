//! The simulator, and the store it simulates.

mod model;
mod seeds;
