-- Arithmetic of arrays, which the query path's SQL calls; postgres_functions.sql has the same names. Arguments are
-- DOUBLE[] and stand once in each body, so that nested calls do not grow. A NULL array gives NULL; where one array is
-- shorter, its missing elements count as NaN.
CREATE MACRO vec_add(a, b) AS list_transform([{'a': a, 'b': b}], lambda p: CASE WHEN p.a IS NOT NULL AND p.b IS NOT NULL
    THEN list_transform(list_zip(p.a, p.b), lambda e: coalesce(e[1] + e[2], 'nan'::DOUBLE)) END)[1];
CREATE MACRO vec_subtract(a, b) AS list_transform([{'a': a, 'b': b}], lambda p: CASE WHEN p.a IS NOT NULL AND p.b IS NOT NULL
    THEN list_transform(list_zip(p.a, p.b), lambda e: coalesce(e[1] - e[2], 'nan'::DOUBLE)) END)[1];
CREATE MACRO vec_multiply(a, b) AS list_transform([{'a': a, 'b': b}], lambda p: CASE WHEN p.a IS NOT NULL AND p.b IS NOT NULL
    THEN list_transform(list_zip(p.a, p.b), lambda e: coalesce(e[1] * e[2], 'nan'::DOUBLE)) END)[1];
CREATE MACRO vec_divide(a, b) AS list_transform([{'a': a, 'b': b}], lambda p: CASE WHEN p.a IS NOT NULL AND p.b IS NOT NULL
    THEN list_transform(list_zip(p.a, p.b), lambda e: coalesce(e[1] / e[2], 'nan'::DOUBLE)) END)[1];
CREATE MACRO vec_scale(a, s) AS list_transform([{'a': a, 's': s}], lambda p: CASE WHEN p.s IS NOT NULL
    THEN list_transform(p.a, lambda e: e * p.s) END)[1];
CREATE MACRO vec_shrink(a, s) AS list_transform([{'a': a, 's': s}], lambda p: CASE WHEN p.s IS NOT NULL
    THEN list_transform(p.a, lambda e: e / p.s) END)[1];
CREATE MACRO vec_dot(a, b) AS list_sum(vec_multiply(a, b));
CREATE MACRO vec_total(a) AS list_sum(a);
CREATE MACRO vec_mean(a) AS list_avg(a);
CREATE MACRO vec_least(a) AS list_min(a);
CREATE MACRO vec_greatest(a) AS list_max(a);
CREATE MACRO vec_deviation(a) AS list_stddev_samp(a);
CREATE MACRO vec_known(a) AS list_count(a);

-- Aggregates, component by component; least and greatest leave out what is missing.
CREATE MACRO vec_rows(a) AS nullif(list_filter(list(a), lambda v: v IS NOT NULL), []);
CREATE MACRO vec_sums(a) AS list_reduce(vec_rows(a), lambda v, w: vec_add(v, w));
CREATE MACRO vec_lows(a) AS list_reduce(vec_rows(a), lambda v, w: list_transform(list_zip(v, w), lambda e: least(e[1], e[2])));
CREATE MACRO vec_highs(a) AS list_reduce(vec_rows(a), lambda v, w: list_transform(list_zip(v, w), lambda e: greatest(e[1], e[2])));
CREATE MACRO vec_counts(a) AS list_reduce(
    list_transform(vec_rows(a), lambda v: list_transform(v, lambda e: CASE WHEN e IS NULL THEN 0::BIGINT ELSE 1::BIGINT END)),
    lambda v, w: list_transform(list_zip(v, w), lambda e: coalesce(e[1], 0) + coalesce(e[2], 0)));
