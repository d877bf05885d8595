//! Grants with a human in front: clients that send a browser, where they may send it back to, and what an operator
//! agreed to.

mod client;
mod given;
mod pkce;
mod redirect;

pub use client::{
    ClientSource, PublicClient, PublicClientPlan, register_public_client, remove_public_client,
};
pub use given::{Consent, ConsentFault, ConsentPlan, common_scopes, give_consent, redeem, renew};
pub use pkce::Challenge;
pub use redirect::{RedirectRule, redirect_matches, require_redirect};
