//! Passwords that are made for people: easy to read out and to type, hard to guess.

use freehold_keys::{KeyError, random};

/// 32 characters that are not mistaken for each other, so that 5 bits choose one evenly.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
const GROUPS: usize = 4;
const GROUP: usize = 4;

/// 80 random bits as four groups of four characters.
pub(crate) fn generate() -> Result<String, KeyError> {
    let bytes = random::<{ GROUPS * GROUP }>()?;
    let characters: Vec<char> = bytes
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))
        .collect();
    let groups: Vec<String> = characters.chunks(GROUP).map(String::from_iter).collect();
    Ok(groups.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_four_groups_of_four_and_never_the_same() {
        let password = generate().unwrap();
        assert_eq!(password.len(), 19);
        assert!(password.split('-').all(|group| group.len() == 4));
        assert_ne!(password, generate().unwrap());
    }
}
