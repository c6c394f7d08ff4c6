# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Parquet files, read in pieces that fit into memory whatever they declare. Needs pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sarnn_ros.data.bounds import MAX_RECORD_BYTES, check_expansion, check_in_memory

#: Rows that are read at a time, at most.
_BATCH_ROWS = 4096
#: Bytes of a value, by its physical type; the others' are as long as each value says.
_VALUE_BYTES = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}


def read_table(file: Path, columns: Sequence[str]) -> Any:
    """Some columns, which together fit into memory, as a pyarrow Table; those that are there.

    :raises BagError: they do not.
    :raises ValueError, OSError: the file is damaged.
    """
    import pyarrow
    from pyarrow import parquet

    batches, size = [], 0
    for batch in read_batches(file, columns):
        size += batch.nbytes
        check_in_memory("the columns without images", size, where=file)
        batches.append(batch)
    if not batches:
        empty = parquet.read_schema(file).empty_table()
        return empty.select([name for name in columns if name in empty.column_names])
    return pyarrow.Table.from_batches(batches)


def read_batches(file: Path, columns: Sequence[str], first: int = 0) -> Iterator[Any]:
    """The rows from `first` on, in pieces, as pyarrow's RecordBatches.

    :raises BagError: the file declares more than it may unpack to.
    """
    from pyarrow import parquet

    with parquet.ParquetFile(file) as table:
        wanted = [name for name in columns if name in table.schema_arrow.names]
        rows = _check_declared(table, file, wanted)
        groups: list[int] = []
        before = 0
        for group in range(table.metadata.num_row_groups):
            count = table.metadata.row_group(group).num_rows
            if before + count > first or groups:
                groups.append(group)
            else:
                before += count
        skip = first - before
        for batch in table.iter_batches(rows, groups, wanted):
            if skip < batch.num_rows:
                yield batch.slice(max(0, skip))
            skip -= batch.num_rows


def _check_declared(table: Any, file: Path, columns: Sequence[str]) -> int:
    """How many rows may be read at once.

    What a column of numbers unpacks to is its number of values, whatever its pages' sizes: equal
    values that follow each other are stored as one. A text or an image is no longer than all of
    the pages that it is in; one that is repeated may be stored once.
    """
    total = numbers = longest = 0
    for group in range(table.metadata.num_row_groups):
        about = table.metadata.row_group(group)
        for index in range(about.num_columns):
            column = about.column(index)
            path = column.path_in_schema
            if not any(path == name or path.startswith(f"{name}.") for name in columns):
                continue
            total += column.total_uncompressed_size
            if column.physical_type in _VALUE_BYTES:
                numbers += column.num_values * _VALUE_BYTES[column.physical_type]
            else:
                longest = max(longest, column.total_uncompressed_size)
            check_expansion("it", total, file.stat().st_size, where=file)
            check_in_memory("the columns of numbers", numbers, where=file)
    return max(1, min(_BATCH_ROWS, MAX_RECORD_BYTES // max(1, longest)))
