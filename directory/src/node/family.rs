//! Names that cost nothing beside one another.

use freehold_proto::DomainName;

/// The last two labels of a name: whoever has it has all names below it. Where names are sold below two labels,
/// many who have nothing to do with each other are one family, and have its part together.
pub(super) fn family(domain: &DomainName) -> String {
    let mut labels = domain.as_str().rsplit('.');
    let last = labels.next().unwrap_or_default();
    match labels.next() {
        Some(before) => format!("{before}.{last}"),
        None => last.to_owned(),
    }
}
