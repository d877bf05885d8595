//! The rules of the room.

mod life;
mod servers;
mod texts;
