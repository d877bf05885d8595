//! The model of the shared store keeps what nodes rely on; the store's own tests show it of the real one.

use bailiwick_simulation::contract::require_all;
use bailiwick_simulation::run::database::Model;

#[test]
fn the_model_keeps_what_nodes_rely_on() {
    let mut model = Model::new().unwrap();
    assert_eq!(require_all(&mut model), Ok(()));
}

#[test]
fn a_model_without_fences_is_found_out() {
    let mut model = Model::new().unwrap();
    model.leave_past_starts_alone();
    let sentence = require_all(&mut model).unwrap_err();
    assert!(sentence.contains("past start"), "{sentence}");
}
