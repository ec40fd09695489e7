//! The channel binding `tls-server-end-point` (RFC 5929, 4): a hash of the server's certificate, by which the server
//! knows that nobody stands between (Extended Protection for Authentication).

use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};
use x509_parser::oid_registry::{
    OID_NIST_HASH_SHA384, OID_NIST_HASH_SHA512, OID_PKCS1_RSASSAPSS, OID_PKCS1_SHA224WITHRSA,
    OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA224,
    OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ECDSA_WITH_SHA512, OID_SIG_ED448, OID_SIG_ED25519,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::signature_algorithm::RsaSsaPssParams;
use x509_parser::x509::AlgorithmIdentifier;

const PREFIX: &[u8] = b"tls-server-end-point:";
/// The size of SEC_CHANNEL_BINDINGS before its data.
const HEAD: u32 = 32;

/// A hash that a signature is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// The binding's application data. `None` for a certificate that cannot be read, or whose signature has no hash of its
/// own (Ed25519), for which none is defined.
pub(crate) fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let hash: Vec<u8> = match hash_of(&parsed.signature_algorithm)? {
        Hash::Sha224 => Sha224::digest(certificate).to_vec(),
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    };
    Some([PREFIX, &hash].concat())
}

/// RFC 5929, 4.1: the signature's hash; SHA-256 in place of MD5 and SHA-1.
fn hash_of(algorithm: &AlgorithmIdentifier<'_>) -> Option<Hash> {
    let oid = &algorithm.algorithm;
    if [OID_SIG_ED25519, OID_SIG_ED448].contains(oid) {
        return None;
    }
    if *oid == OID_PKCS1_RSASSAPSS {
        let parameters = algorithm.parameters.as_ref()?;
        let parameters = RsaSsaPssParams::try_from(parameters).ok()?;
        let inner = parameters.hash_algorithm_oid();
        return Some(if *inner == OID_NIST_HASH_SHA384 {
            Hash::Sha384
        } else if *inner == OID_NIST_HASH_SHA512 {
            Hash::Sha512
        } else {
            Hash::Sha256
        });
    }
    let is = |known: [&_; 2]| known.contains(&oid);
    Some(
        if is([&OID_PKCS1_SHA384WITHRSA, &OID_SIG_ECDSA_WITH_SHA384]) {
            Hash::Sha384
        } else if is([&OID_PKCS1_SHA512WITHRSA, &OID_SIG_ECDSA_WITH_SHA512]) {
            Hash::Sha512
        } else if is([&OID_PKCS1_SHA224WITHRSA, &OID_SIG_ECDSA_WITH_SHA224]) {
            Hash::Sha224
        } else {
            Hash::Sha256
        },
    )
}

/// The binding in the form of SSPI (Win32 `SEC_CHANNEL_BINDINGS`): no addresses, the application data behind the head.
pub(crate) fn structure(application_data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(application_data.len()).unwrap_or(0);
    let mut bytes = Vec::new();
    for number in [0, 0, 0, 0, 0, 0, length, HEAD] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(application_data);
    bytes
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};

    fn certificate(algorithm: &'static SignatureAlgorithm) -> Vec<u8> {
        let key = KeyPair::generate_for(algorithm).unwrap();
        CertificateParams::new(["mail.example".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap()
            .der()
            .to_vec()
    }

    #[test]
    fn the_hash_is_that_of_the_signature() {
        let p256 = certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
        let expected = [PREFIX, &Sha256::digest(&p256)].concat();
        assert_eq!(end_point(&p256), Some(expected));
        let p384 = certificate(&rcgen::PKCS_ECDSA_P384_SHA384);
        let expected = [PREFIX, &Sha384::digest(&p384)].concat();
        assert_eq!(end_point(&p384), Some(expected));
    }

    #[test]
    fn where_none_is_defined_there_is_none() {
        assert_eq!(end_point(&certificate(&rcgen::PKCS_ED25519)), None);
        assert_eq!(end_point(b"no certificate"), None);
    }

    #[test]
    fn the_structure_points_to_its_data() {
        let bytes = structure(b"abc");
        assert_eq!(bytes.len(), 35);
        assert_eq!(&bytes[24..32], &[3, 0, 0, 0, 32, 0, 0, 0]);
        assert_eq!(&bytes[32..], b"abc");
    }
}
