use std::collections::BTreeMap;
use std::io::Read as _;

use bailiwick_base::{TaskId, TenantId, Time};
use bailiwick_signals::{PLACES, Standing, place, reference, status_list};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::read::ZlibDecoder;
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

const URI: &str = "https://bailiwick.example/t/acme/status-lists/7";

fn inflated(standings: &BTreeMap<u32, Standing>) -> Vec<u8> {
    let times = (Time::from_secs(100), 10, 60);
    let claims: Value = serde_json::from_slice(&status_list(URI, "https://i", standings, times)).unwrap();
    assert_eq!((&claims["sub"], &claims["iat"]), (&json!(URI), &json!(100)));
    assert_eq!((&claims["ttl"], &claims["exp"]), (&json!(10), &json!(160)));
    assert_eq!(claims["status_list"]["bits"], 2);
    let packed = URL_SAFE_NO_PAD
        .decode(claims["status_list"]["lst"].as_str().unwrap())
        .unwrap();
    let mut bytes = Vec::new();
    ZlibDecoder::new(packed.as_slice())
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

#[test]
fn bits_stand_as_in_the_example_of_the_draft() {
    // Draft 21 §4.1, the example of two bits: 1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3 is c9 44 f9; 3 is of no use here.
    let standings = [
        (0, Standing::Invalid),
        (1, Standing::Suspended),
        (5, Standing::Invalid),
        (7, Standing::Invalid),
        (8, Standing::Invalid),
        (9, Standing::Suspended),
    ];
    let bytes = inflated(&standings.into());
    assert_eq!(&bytes[..3], &[0xc9 & 0x3f, 0x44, 0xf9 & 0x0f]);
    assert_eq!(bytes.len(), PLACES as usize / 4);
}

#[test]
fn a_task_has_its_place_by_the_hour_and_the_end_of_its_id() {
    let tenant = TenantId::parse("acme").unwrap();
    let hours = 480_000_u128;
    let id = ((hours * 3_600_000 + 5) << 80) | 0x7_0000_0000_0000_0000 | 0xf_edcb;
    let found = place(&TaskId::from_parts(tenant, Uuid::from_u128(id)));
    assert_eq!((u128::from(found.list), found.index), (hours, 0xf_edcb));
    assert_eq!(
        reference(URI, found.index),
        json!({"status_list": {"idx": 0xf_edcb, "uri": URI}})
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn what_is_put_in_is_read_out_and_nothing_else(
        given in proptest::collection::btree_map(0..PLACES, 0..3_u8, 0..40)
    ) {
        let standings = given.iter().map(|(index, bits)| {
            (*index, [Standing::Valid, Standing::Invalid, Standing::Suspended][usize::from(*bits)])
        });
        let bytes = inflated(&standings.collect());
        let mut found = BTreeMap::new();
        for (at, byte) in (0_u32..).zip(bytes) {
            for place in 0..4 {
                let bits = byte >> (place * 2) & 3;
                if bits != 0 {
                    found.insert(at * 4 + place, bits);
                }
            }
        }
        let expected: BTreeMap<u32, u8> = given.into_iter().filter(|(_, bits)| *bits != 0).collect();
        prop_assert_eq!(found, expected);
    }
}
