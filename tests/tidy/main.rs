//! Guards the walls: what may know what, what no file may hold, and that documents say what is so. Reads the
//! sources as text; each failure names the place and what to do.

#![expect(clippy::unwrap_used, reason = "in a test the panic is the report")]

mod dependencies;
mod documents;
mod files;
mod imports;
mod settings;
mod sources;
mod walls;

use sources::assert_none;

#[test]
fn folders_know_only_what_they_may() {
    assert_none(&walls::breaches());
}

#[test]
fn dependencies_are_used_only_where_their_table_says() {
    assert_none(&walls::dependencies_elsewhere());
}

#[test]
fn no_file_imports_one_that_imports_it_back() {
    assert_none(&imports::circles());
}

#[test]
fn no_part_hands_on_what_is_anothers() {
    assert_none(&imports::handed_on_from_elsewhere());
}

#[test]
fn stages_are_put_together_in_one_place() {
    assert_none(&walls::stages_elsewhere());
}

#[test]
fn topics_are_named_only_where_records_are_made_or_read() {
    assert_none(&walls::topics_elsewhere());
}

#[test]
fn files_are_short() {
    assert_none(&files::long_files());
}

#[test]
fn nothing_is_left_undone_silenced_or_unbounded() {
    assert_none(&files::forbidden_words());
}

#[test]
fn every_dependency_has_its_reason() {
    assert_none(&dependencies::without_reason());
}

#[test]
fn the_example_configuration_holds_every_key_with_its_default() {
    assert_none(&settings::differences());
}

#[test]
fn the_example_configuration_explains_every_key() {
    assert_none(&settings::unexplained());
}

#[test]
fn keys_without_a_default_are_shown() {
    assert_none(&settings::not_shown());
}

#[test]
fn commands_in_the_readme_exist() {
    assert_none(&documents::unknown_commands());
}

#[test]
fn links_between_documents_lead_somewhere() {
    assert_none(&documents::dead_links());
}

#[test]
fn nothing_names_a_place_on_one_machine() {
    assert_none(&documents::places_of_one_machine());
}
