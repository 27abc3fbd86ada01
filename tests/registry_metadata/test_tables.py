"""Published columns: complete by the standards' tables, no reserved word, every one described."""

from __future__ import annotations

import pytest

from index.content import release_tables
from index.release import OpenRelease
from registry_metadata import tables
from registry_metadata.columns import Table, from_json, to_json
from registry_metadata.reserved import RESERVED
from tests import synthetic

ALL = release_tables([synthetic.recipe()])
NAMED = {table.name: table for table in ALL}
SPECTRA, OBSCORE = NAMED["doppel.spectra"], NAMED["ivoa.obscore"]

OBSCORE_MANDATORY = {
    "s_dec",
    "target_name",
    "t_exptime",
    "s_xel1",
    "em_xel",
    "pol_xel",
    "em_min",
    "calib_level",
    "em_max",
    "s_ra",
    "s_region",
    "facility_name",
    "em_res_power",
    "obs_id",
    "t_max",
    "t_xel",
    "access_format",
    "s_fov",
    "t_resolution",
    "o_ucd",
    "obs_publisher_did",
    "instrument_name",
    "dataproduct_type",
    "s_xel2",
    "access_estsize",
    "pol_states",
    "s_resolution",
    "obs_collection",
    "access_url",
    "t_min",
}  # ObsCore 1.1, table 4


def test_tables_survive_their_file() -> None:
    assert from_json(to_json(ALL)) == ALL


@pytest.mark.parametrize("table", ALL, ids=lambda table: table.name)
def test_a04_no_reserved_names_and_all_described(table: Table) -> None:
    assert table.description
    names = [column.name for column in table.columns]
    assert len(set(names)) == len(names)
    for column in table.columns:
        assert column.description, column.name
        assert column.name == column.name.lower()
        reserved = column.name.upper() in RESERVED
        assert not reserved or (table.name, column.name) == ("tap_schema.columns", "size")


@pytest.mark.parametrize("table", ALL, ids=lambda table: table.name)
def test_t47_arraysize_is_written_as_votable_has_it(table: Table) -> None:
    for column in table.columns:
        assert column.arraysize != "1"
        if column.datatype in ("char", "unicodeChar"):
            assert column.arraysize == "*"


def test_o01_obscore_is_complete_and_told_by_its_utype() -> None:
    assert OBSCORE.utype == "ivo://ivoa.net/std/obscore#table-1.1"
    assert {column.name for column in OBSCORE.columns} >= OBSCORE_MANDATORY
    assert all(column.utype and column.utype.startswith("obscore:") for column in OBSCORE.columns)  # O09
    units = {column.name: column.unit for column in OBSCORE.columns}
    assert units["access_estsize"] == "kbyte"  # O04
    assert (units["em_min"], units["t_min"], units["t_exptime"], units["s_resolution"]) == (
        "m", "d", "s", "arcsec",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("utype", "datatype", "arraysize", "unit", "ucd"),
    [
        ("ssa:Access.Reference", "char", "*", None, "meta.ref.url;meta.dataset"),
        ("ssa:Access.Format", "char", "*", None, "meta.code.mime"),
        ("ssa:Access.Size", "long", None, "kbyte", "phys.size;meta.file"),
        ("ssa:Dataset.DataModel", "char", "*", None, None),
        ("ssa:Dataset.Length", "long", None, None, "meta.number"),
        ("ssa:DataID.Title", "unicodeChar", "*", None, "meta.title;meta.dataset"),
        ("ssa:Curation.Publisher", "unicodeChar", "*", None, "meta.curation"),
        ("ssa:Curation.PublisherDID", "char", "*", None, "meta.ref.ivoid"),
        ("ssa:Target.Pos", "double", "2", "deg", "pos.eq;src"),
        ("ssa:Target.Redshift", "double", None, None, "src.redshift"),
        ("ssa:Derived.SNR", "float", None, None, "stat.snr"),
        ("ssa:Char.SpatialAxis.Coverage.Location.Value", "double", "2", "deg", "pos.eq"),
        ("ssa:Char.TimeAxis.Coverage.Bounds.Extent", "double", None, "s", "time.duration;obs.exposure"),
        ("ssa:Char.SpectralAxis.Coverage.Bounds.Start", "double", None, "m", "em.wl;stat.min"),
        ("ssa:Char.SpectralAxis.Coverage.Bounds.Stop", "double", None, "m", "em.wl;stat.max"),
        ("ssa:Char.SpectralAxis.Resolution", "double", None, "m", "spect.resolution;em.wl"),
    ],
)
def test_s22_s23_s24_columns_of_ssa(
    utype: str, datatype: str, arraysize: str | None, unit: str | None, ucd: str | None
) -> None:
    found = [column for column in SPECTRA.columns if (column.ssa_utype or column.utype) == utype]
    assert len(found) == 1
    column = found[0]
    assert column.ssa
    assert (column.datatype, column.arraysize, column.unit, column.ucd) == (datatype, arraysize, unit, ucd)


def test_identifiers_and_urls_are_marked() -> None:
    assert {table.name: table.did.name for table in ALL if table.did} == {
        "doppel.spectra": "ssa_pubdid",
        "doppel.optical": "ssa_pubdid",
        "ivoa.obscore": "obs_publisher_did",
    }
    urls = {column.name for table in ALL for column in table.columns if column.url}
    assert urls == {"accref", "datalink_url", "preview_url", "access_url"}
    assert SPECTRA.columns[0].ssa == "ssa_pubDID"


def test_a_model_has_predictions_with_intervals_latents_with_errors_and_the_vector() -> None:
    table = NAMED["doppel.optical"]
    names = [column.name for column in table.columns]
    assert names[1:6] == ["teff_pred", "teff_pred_lo68", "teff_pred_hi68", "teff_pred_lo90", "teff_pred_hi90"]
    assert {"z00", "z00_sigma", "anomaly", "embedding"} <= set(names)
    teff, embedding = table.column("TEFF_pred"), table.column("embedding")
    assert teff is not None
    assert teff.ucd == "phys.temperature.effective;meta.modelled"
    assert embedding is not None
    assert embedding.arraysize == str(len(synthetic.recipe().latents))


def test_t40_tap_schema_describes_itself_and_all_else(release: OpenRelease) -> None:
    ask = release.engine.table
    told = ask("SELECT table_name, column_name FROM release.tap_schema.columns").to_pylist()
    assert {(row["table_name"], row["column_name"]) for row in told} == {
        (table.name, tables.quoted(column.name))
        for table in release.tables.values()
        for column in table.columns
    }
    assert {row["schema_name"] for row in ask("SELECT * FROM release.tap_schema.schemas").to_pylist()} == {
        table.schema for table in release.tables.values()
    }


def test_t43_t44_t46_size_is_delimited_and_standard_columns_are_marked(release: OpenRelease) -> None:
    sql = 'SELECT column_name, arraysize, "size", std FROM release.tap_schema.columns WHERE table_name = ?'
    own = release.engine.table(sql, ["tap_schema.columns"]).to_pylist()
    assert '"size"' in [row["column_name"] for row in own]
    assert {row["std"] for row in own} == {1}
    points = [
        row for row in release.engine.table(sql, ["doppel.spectra"]).to_pylist() if row["arraysize"] == "2"
    ]
    assert points
    assert {row["size"] for row in points} == {2}


def test_t45_keys_lead_to_columns_that_exist(release: OpenRelease) -> None:
    sql = (
        "SELECT k.*, c.* FROM release.tap_schema.keys AS k "
        "JOIN release.tap_schema.key_columns AS c ON c.key_id = k.key_id"
    )
    keys = release.engine.table(sql).to_pylist()
    assert len([key for key in keys if key["from_table"].startswith("tap_schema.")]) == 5
    for key in keys:
        assert release.tables[key["from_table"]].column(key["from_column"])
        assert release.tables[key["target_table"]].column(key["target_column"])


def test_physical_columns_are_the_published_ones(release: OpenRelease) -> None:
    for table in release.tables.values():
        columns = release.engine.table(f"SELECT * FROM release.{table.name} LIMIT 0").column_names
        hidden = ["row_number"] if table.has_rows else []
        assert columns == hidden + [column.name for column in table.columns]
