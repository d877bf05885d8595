//! Signing keys behind Signer, sealed at rest behind Sealer.
