-- What the query path's SQL calls and PostgreSQL has not, or has with another meaning. In one place, so that the
-- planner can put it into the query: each body is one expression.
CREATE SCHEMA IF NOT EXISTS adql;

-- Numbers: outside its domain a function is NaN or infinite (as IEEE 754 has it), not an error.
CREATE OR REPLACE FUNCTION adql.sqrt(x float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT CASE WHEN x < 0 THEN 'NaN'::float8 ELSE pg_catalog.sqrt(x) END $$;
CREATE OR REPLACE FUNCTION adql.ln(x float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT CASE WHEN x < 0 THEN 'NaN'::float8 WHEN x = 0 THEN '-Infinity'::float8 ELSE pg_catalog.ln(x) END $$;
CREATE OR REPLACE FUNCTION adql.log10(x float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT CASE WHEN x < 0 THEN 'NaN'::float8 WHEN x = 0 THEN '-Infinity'::float8 ELSE pg_catalog.log(x) END $$;
CREATE OR REPLACE FUNCTION adql.exp(x float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT CASE WHEN x = 'NaN' THEN x WHEN x > 709.782712893384 THEN 'Infinity'::float8 WHEN x < -745.133219101941 THEN 0
                      ELSE pg_catalog.exp(x) END $$;
CREATE OR REPLACE FUNCTION adql.power(x float8, y float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT CASE WHEN x = '-Infinity' AND y <> floor(y) THEN CASE WHEN y > 0 THEN 'Infinity'::float8 ELSE 0 END
                      WHEN x < 0 AND y <> floor(y) AND y NOT IN ('Infinity', '-Infinity') THEN 'NaN'::float8
                      WHEN x = 0 AND y < 0 THEN 'Infinity'::float8
                      WHEN x NOT IN (0, 1, -1, 'Infinity', '-Infinity', 'NaN') AND y NOT IN ('Infinity', '-Infinity', 'NaN')
                           AND y * pg_catalog.ln(abs(x)) > 709.782712893384
                           THEN CASE WHEN x < 0 AND y - 2 * floor(y / 2) = 1 THEN '-Infinity'::float8 ELSE 'Infinity'::float8 END
                      WHEN x NOT IN (0, 1, -1, 'Infinity', '-Infinity', 'NaN') AND y NOT IN ('Infinity', '-Infinity', 'NaN')
                           AND y * pg_catalog.ln(abs(x)) < -745.133219101941 THEN 0
                      ELSE pg_catalog.power(x, y) END $$;
CREATE OR REPLACE FUNCTION adql.acos(x float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT CASE WHEN x BETWEEN -1 AND 1 THEN pg_catalog.acos(x) WHEN x IS NULL THEN NULL ELSE 'NaN'::float8 END $$;
CREATE OR REPLACE FUNCTION adql.asin(x float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT CASE WHEN x BETWEEN -1 AND 1 THEN pg_catalog.asin(x) WHEN x IS NULL THEN NULL ELSE 'NaN'::float8 END $$;
CREATE OR REPLACE FUNCTION adql.divide(x float8, y float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT CASE WHEN y <> 0 THEN x / y WHEN x = 0 OR x = 'NaN' THEN 'NaN'::float8 WHEN y IS NULL THEN NULL
                      ELSE x * 'Infinity'::float8 END $$;
CREATE OR REPLACE FUNCTION adql.cot(x float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT adql.divide(1, pg_catalog.tan(x)) $$;
-- Multiples of y by powers of two are taken away, each without rounding, from the largest down.
CREATE OR REPLACE FUNCTION adql.fmod_exact(x float8, y float8) RETURNS float8 LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ WITH RECURSIVE steps(r) AS (SELECT x UNION ALL
          SELECT CASE WHEN p > r / 2 THEN r - p ELSE r - 2 * p END FROM steps,
          LATERAL (SELECT floor((ln(r) - ln(y)) / ln(2.0::float8)) AS k) AS e,
          LATERAL (SELECT y * 2.0::float8 ^ floor(k / 2) * 2.0::float8 ^ (k - floor(k / 2) - 1) AS p) AS m WHERE r >= y)
          SELECT min(r) FROM steps $$;
CREATE OR REPLACE FUNCTION adql.fmod(x float8, y float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT CASE WHEN x IS NULL OR y IS NULL THEN NULL
                      WHEN y IN (0, 'NaN') OR x IN ('Infinity', '-Infinity', 'NaN') THEN 'NaN'::float8
                      WHEN abs(x) < abs(y) THEN x
                      WHEN abs(x) / 1048576 < abs(y) THEN sign(x) * greatest(0, abs(x) - abs(y) * floor(abs(x) / abs(y)))
                      ELSE sign(x) * adql.fmod_exact(abs(x), abs(y)) END $$;
CREATE OR REPLACE FUNCTION adql.modulo(x float8, y float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT adql.fmod(x, y) $$;
CREATE OR REPLACE FUNCTION adql.modulo(x smallint, y smallint) RETURNS smallint LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT x % y $$;
CREATE OR REPLACE FUNCTION adql.modulo(x integer, y integer) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT x % y $$;
CREATE OR REPLACE FUNCTION adql.modulo(x bigint, y bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT x % y $$;

-- Halves are rounded away from zero; places may be negative.
CREATE OR REPLACE FUNCTION adql.round(x float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT CASE WHEN abs(x) < 4503599627370496 THEN sign(x) * floor(abs(x) + 0.5) ELSE x END $$;
CREATE OR REPLACE FUNCTION adql.round(x float8, places bigint) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT CASE WHEN places > 300 THEN x WHEN places < -300 THEN 0
                      WHEN places >= 0 AND abs(x) >= 4503599627370496 / 10.0::float8 ^ places THEN x
                      WHEN places >= 0 THEN adql.round(x * 10.0::float8 ^ places) / 10.0::float8 ^ places
                      ELSE adql.round(x / 10.0::float8 ^ -places) * 10.0::float8 ^ -places END $$;
CREATE OR REPLACE FUNCTION adql.trunc(x float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT pg_catalog.trunc(x) $$;
CREATE OR REPLACE FUNCTION adql.trunc(x float8, places bigint) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT CASE WHEN places > 300 THEN x WHEN places < -300 THEN 0
                      WHEN places >= 0 AND abs(x) >= 4503599627370496 / 10.0::float8 ^ places THEN x
                      WHEN places >= 0 THEN pg_catalog.trunc(x * 10.0::float8 ^ places) / 10.0::float8 ^ places
                      ELSE pg_catalog.trunc(x / 10.0::float8 ^ -places) * 10.0::float8 ^ -places END $$;
CREATE OR REPLACE FUNCTION adql.hash53(x bigint) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT (hashint8extended(x, 2718) & 9007199254740991)::float8 $$;

-- Text. Letters of all scripts have cases, whatever the database's own collation; texts are ordered by code points.
DO $cases$ DECLARE
    cases text := coalesce((SELECT quote_ident(collname) FROM pg_collation
        WHERE collname IN ('pg_c_utf8', 'C.utf8', 'und-x-icu') AND collencoding IN (-1, pg_char_to_encoding('UTF8'))
        ORDER BY collname = 'pg_c_utf8' DESC, collname = 'C.utf8' DESC LIMIT 1), '"default"');
BEGIN
    EXECUTE format('CREATE OR REPLACE FUNCTION adql.lower(x text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE '
        'AS $f$ SELECT pg_catalog.lower(x COLLATE pg_catalog.%s) COLLATE "C" $f$', cases);
    EXECUTE format('CREATE OR REPLACE FUNCTION adql.upper(x text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE '
        'AS $f$ SELECT pg_catalog.upper(x COLLATE pg_catalog.%s) COLLATE "C" $f$', cases);
END $cases$;
CREATE OR REPLACE FUNCTION adql.to_text(x float8) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT CASE WHEN x IN ('Infinity', '-Infinity', 'NaN') THEN left(lower(x::text), CASE WHEN x < 0 THEN 4 ELSE 3 END)
                      ELSE regexp_replace(x::text, '^(-?[0-9]+)$', '\1.0') END $$;
CREATE OR REPLACE FUNCTION adql.to_text(x real) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT CASE WHEN x IN ('Infinity', '-Infinity', 'NaN') THEN left(lower(x::text), CASE WHEN x < 0 THEN 4 ELSE 3 END)
                      ELSE regexp_replace(x::text, '^(-?[0-9]+)$', '\1.0') END $$;
CREATE OR REPLACE FUNCTION adql.to_text(x bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT x::text $$;
CREATE OR REPLACE FUNCTION adql.to_text(x integer) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT x::text $$;
CREATE OR REPLACE FUNCTION adql.to_text(x smallint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT x::text $$;
CREATE OR REPLACE FUNCTION adql.to_text(x boolean) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT x::text $$;
CREATE OR REPLACE FUNCTION adql.to_text(x text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT x $$;
CREATE OR REPLACE FUNCTION adql.to_text(x timestamp) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT x::text $$;
CREATE OR REPLACE FUNCTION adql.regexp_escape(x text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT regexp_replace(x, '([^[:alnum:]_])', '\\\1', 'g') $$;
CREATE OR REPLACE FUNCTION adql.regexp_matches(x text, pattern text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT x ~ pattern $$;
CREATE OR REPLACE FUNCTION adql.epoch_us(x timestamp) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT (extract(epoch FROM x) * 1000000)::bigint $$;

-- Arrays
CREATE OR REPLACE FUNCTION adql.element(x anyarray, place bigint) RETURNS anyelement LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT x[least(place, 2147483647)::integer] $$;
CREATE OR REPLACE FUNCTION adql.slice(x anyarray, low bigint, high bigint) RETURNS anyarray LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT x[least(low, 2147483647)::integer:least(high, 2147483647)::integer] $$;
CREATE OR REPLACE FUNCTION adql.len(x anyarray) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT cardinality(x)::bigint $$;
CREATE OR REPLACE FUNCTION adql.list_contains(x anycompatiblearray, item anycompatible) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT coalesce(item = ANY(x), false) $$;
CREATE OR REPLACE FUNCTION adql.list_distinct(x anyarray) RETURNS anyarray LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT ARRAY(SELECT DISTINCT e FROM unnest(x) AS e WHERE e IS NOT NULL) $$;
CREATE OR REPLACE FUNCTION adql.list_distance(x float8[], y float8[]) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT CASE WHEN x IS NULL OR y IS NULL THEN NULL
                      ELSE (SELECT pg_catalog.sqrt(sum((a - b) * (a - b))) FROM unnest(x, y) AS e(a, b)) END $$;

-- Arithmetic of arrays, component by component: missing elements of the shorter one count as NaN
CREATE OR REPLACE FUNCTION adql.vec_add(a float8[], b float8[]) RETURNS float8[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT ARRAY(SELECT coalesce(x + y, 'NaN') FROM unnest(a, b) WITH ORDINALITY AS e(x, y, n) ORDER BY n) $$;
CREATE OR REPLACE FUNCTION adql.vec_subtract(a float8[], b float8[]) RETURNS float8[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT ARRAY(SELECT coalesce(x - y, 'NaN') FROM unnest(a, b) WITH ORDINALITY AS e(x, y, n) ORDER BY n) $$;
CREATE OR REPLACE FUNCTION adql.vec_multiply(a float8[], b float8[]) RETURNS float8[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT ARRAY(SELECT coalesce(x * y, 'NaN') FROM unnest(a, b) WITH ORDINALITY AS e(x, y, n) ORDER BY n) $$;
CREATE OR REPLACE FUNCTION adql.vec_divide(a float8[], b float8[]) RETURNS float8[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT ARRAY(SELECT coalesce(adql.divide(x, y), 'NaN') FROM unnest(a, b) WITH ORDINALITY AS e(x, y, n) ORDER BY n) $$;
CREATE OR REPLACE FUNCTION adql.vec_scale(a float8[], s float8) RETURNS float8[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT ARRAY(SELECT x * s FROM unnest(a) WITH ORDINALITY AS e(x, n) ORDER BY n) $$;
CREATE OR REPLACE FUNCTION adql.vec_shrink(a float8[], s float8) RETURNS float8[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT ARRAY(SELECT adql.divide(x, s) FROM unnest(a) WITH ORDINALITY AS e(x, n) ORDER BY n) $$;
CREATE OR REPLACE FUNCTION adql.vec_dot(a float8[], b float8[]) RETURNS float8 LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT sum(coalesce(x * y, 'NaN')) FROM unnest(a, b) AS e(x, y) $$;
CREATE OR REPLACE FUNCTION adql.vec_total(a float8[]) RETURNS float8 LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT sum(x) FROM unnest(a) AS e(x) $$;
CREATE OR REPLACE FUNCTION adql.vec_mean(a float8[]) RETURNS float8 LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT avg(x) FROM unnest(a) AS e(x) $$;
CREATE OR REPLACE FUNCTION adql.vec_least(a float8[]) RETURNS float8 LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT min(x) FROM unnest(a) AS e(x) $$;
CREATE OR REPLACE FUNCTION adql.vec_greatest(a float8[]) RETURNS float8 LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT max(x) FROM unnest(a) AS e(x) $$;
CREATE OR REPLACE FUNCTION adql.vec_deviation(a float8[]) RETURNS float8 LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT stddev_samp(x) FROM unnest(a) AS e(x) $$;
CREATE OR REPLACE FUNCTION adql.vec_known(a float8[]) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT count(x) FROM unnest(a) AS e(x) $$;
CREATE OR REPLACE FUNCTION adql.vec_lower(a float8[], b float8[]) RETURNS float8[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT ARRAY(SELECT least(x, y) FROM unnest(a, b) WITH ORDINALITY AS e(x, y, n) ORDER BY n) $$;
CREATE OR REPLACE FUNCTION adql.vec_higher(a float8[], b float8[]) RETURNS float8[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT ARRAY(SELECT greatest(x, y) FROM unnest(a, b) WITH ORDINALITY AS e(x, y, n) ORDER BY n) $$;
CREATE OR REPLACE FUNCTION adql.vec_counted(c bigint[], b float8[]) RETURNS bigint[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT CASE WHEN b IS NULL THEN c ELSE
          ARRAY(SELECT coalesce(x, 0) + (y IS NOT NULL)::int FROM unnest(c, b) WITH ORDINALITY AS e(x, y, n) ORDER BY n) END $$;
CREATE OR REPLACE FUNCTION adql.vec_summed(s float8[], b float8[]) RETURNS float8[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT ARRAY(SELECT CASE WHEN n > least(cardinality(s), cardinality(b)) THEN 'NaN' ELSE coalesce(x + y, x, y) END
          FROM unnest(s, b) WITH ORDINALITY AS e(x, y, n) ORDER BY n) $$;
-- The state is the sums and after them the counts
CREATE OR REPLACE FUNCTION adql.vec_averaged(s float8[], b float8[]) RETURNS float8[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT CASE WHEN b IS NULL THEN s ELSE (SELECT coalesce(array_agg(x ORDER BY n) || array_agg(c ORDER BY n), '{}') FROM
          (SELECT n, coalesce(c, 0) + (y IS NOT NULL)::int AS c,
           CASE WHEN n > least(cardinality(s) / 2, cardinality(b)) THEN 'NaN' ELSE coalesce(x + y, x, y) END AS x
           FROM unnest(s[:cardinality(s) / 2], s[cardinality(s) / 2 + 1:], b) WITH ORDINALITY AS e(x, c, y, n)) AS m) END $$;
CREATE OR REPLACE FUNCTION adql.vec_averages(s float8[]) RETURNS float8[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT ARRAY(SELECT CASE WHEN c = 0 THEN x ELSE x / c END FROM unnest(s[:cardinality(s) / 2], s[cardinality(s) / 2 + 1:])
          WITH ORDINALITY AS e(x, c, n) ORDER BY n) WHERE s IS NOT NULL $$;
CREATE OR REPLACE AGGREGATE adql.vec_sums(float8[]) (sfunc = adql.vec_summed, stype = float8[]);
CREATE OR REPLACE AGGREGATE adql.vec_means(float8[]) (
    sfunc = adql.vec_averaged, stype = float8[], finalfunc = adql.vec_averages);
CREATE OR REPLACE AGGREGATE adql.vec_lows(float8[]) (sfunc = adql.vec_lower, stype = float8[]);
CREATE OR REPLACE AGGREGATE adql.vec_highs(float8[]) (sfunc = adql.vec_higher, stype = float8[]);
CREATE OR REPLACE AGGREGATE adql.vec_counts(float8[]) (sfunc = adql.vec_counted, stype = bigint[]);

-- Regions on the sky, in degrees, as in duckdb_functions.sql
CREATE OR REPLACE FUNCTION adql.sky_chord(a float8, d float8, b float8, e float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT sin(radians(d - e) / 2) ^ 2 + cos(radians(d)) * cos(radians(e)) * sin(radians(a - b) / 2) ^ 2 $$;
CREATE OR REPLACE FUNCTION adql.sky_side(a float8, d float8, b float8, e float8, p float8, q float8) RETURNS float8
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT sin(radians(q)) * cos(radians(d)) * cos(radians(e)) * sin(radians(b - a))
               + sin(radians(d)) * cos(radians(e)) * cos(radians(q)) * sin(radians(p - b))
               + sin(radians(e)) * cos(radians(q)) * cos(radians(d)) * sin(radians(a - p)) $$;
CREATE OR REPLACE FUNCTION adql.ring_edges(r float8[]) RETURNS TABLE (a float8, d float8, b float8, e float8, turn float8)
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT s.a, s.d, s.b, s.e, adql.fmod(s.b - s.a + 1260, 360) - 180
          FROM (SELECT r[2 * i - 1] AS a, r[2 * i] AS d, r[(2 * i) % cardinality(r) + 1] AS b, r[(2 * i + 1) % cardinality(r) + 1] AS e
                FROM generate_series(1, cardinality(r) / 2) AS i) AS s $$;
CREATE OR REPLACE FUNCTION adql.ring_strip(d float8, e float8, turn float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT 2 * atan2(tan(radians(turn) / 2) * (tan(radians(d) / 2) + tan(radians(e) / 2)),
                           1 + tan(radians(d) / 2) * tan(radians(e) / 2)) $$;
CREATE OR REPLACE FUNCTION adql.ring_holds(ring float8[], p float8, q float8) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT CASE WHEN p + q <= 'Infinity' THEN count(*) FILTER (WHERE turn * adql.sky_side(a, d, b, e, p, q) < 0
              AND ((turn > 0 AND adql.fmod(p - a + 720, 360) < turn)
                   OR (turn BETWEEN -179.9999999999 AND 0 AND adql.fmod(p - b + 720, 360) < -turn))) % 2
          = CASE WHEN abs(sum(turn)) > 180 AND sum(turn) * sum(adql.ring_strip(d, e, turn)) >= 0 THEN 0 ELSE 1 END END
          FROM adql.ring_edges(ring) $$;
CREATE OR REPLACE FUNCTION adql.ring_distance(ring float8[], p float8, q float8) RETURNS float8 LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT degrees(min(CASE WHEN h > 0 AND g + h - k >= 2 * g * h AND k + h - g >= 2 * k * h
              THEN asin(least(1, abs(v) / (2 * sqrt(h * (1 - h))))) ELSE 2 * asin(sqrt(least(1, g, k))) END))
          FROM (SELECT adql.sky_chord(a, d, b, e) AS h, adql.sky_chord(a, d, p, q) AS g, adql.sky_chord(b, e, p, q) AS k,
                       adql.sky_side(a, d, b, e, p, q) AS v FROM adql.ring_edges(ring)) AS s $$;
CREATE OR REPLACE FUNCTION adql.ring_reach(ring float8[], p float8, q float8) RETURNS float8 LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT degrees(2 * asin(sqrt(least(1, max(adql.sky_chord(a, d, p, q)))))) FROM adql.ring_edges(ring) $$;
CREATE OR REPLACE FUNCTION adql.ring_area(ring float8[]) RETURNS float8 LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT degrees(1) ^ 2 * CASE WHEN abs(turn) < 180 THEN least(abs(strips), 4 * pi() - abs(strips)) ELSE 2 * pi() - abs(strips) END
          FROM (SELECT sum(turn) AS turn, sum(adql.ring_strip(d, e, turn)) AS strips FROM adql.ring_edges(ring)) AS s $$;
CREATE OR REPLACE FUNCTION adql.ring_centroid(ring float8[]) RETURNS float8[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT ARRAY[adql.fmod(ring[1] + degrees(atan2(east, out)) + 720, 360), degrees(atan2(up, pg_catalog.sqrt(east ^ 2 + out ^ 2)))]
          FROM (SELECT f * mx AS east, f * (mz * cos(radians(ring[2])) - my * sin(radians(ring[2]))) AS out,
                       f * (my * cos(radians(ring[2])) + mz * sin(radians(ring[2]))) AS up
                FROM (SELECT *, CASE WHEN mx * sx + my * sy + mz * sz < 0 THEN -1 ELSE 1 END AS f
                      FROM (SELECT sum(f * (y * w - z * v)) AS mx, sum(f * (z * u - x * w)) AS my, sum(f * (x * v - y * u)) AS mz,
                                   sum(x) AS sx, sum(y) AS sy, sum(z) AS sz
                            FROM (SELECT *, CASE WHEN h > 0 THEN asin(sqrt(least(1, h))) / sqrt(h * (1 - h)) ELSE 0 END AS f
                                  FROM (SELECT cos(radians(d)) * sin(radians(a - ring[1])) AS x, cos(radians(e)) * sin(radians(b - ring[1])) AS u,
                                          sin(radians(d - ring[2])) + 2 * cos(radians(d)) * sin(radians(ring[2])) * sin(radians(a - ring[1]) / 2) ^ 2 AS y,
                                          sin(radians(e - ring[2])) + 2 * cos(radians(e)) * sin(radians(ring[2])) * sin(radians(b - ring[1]) / 2) ^ 2 AS v,
                                          1 - 2 * adql.sky_chord(a, d, ring[1], ring[2]) AS z, 1 - 2 * adql.sky_chord(b, e, ring[1], ring[2]) AS w,
                                          adql.sky_chord(a, d, b, e) AS h
                                        FROM adql.ring_edges(ring)) AS q) AS s) AS m) AS n) AS c $$;
CREATE OR REPLACE FUNCTION adql.rings_crossed(one float8[], other float8[]) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT count(*) FROM (
              SELECT adql.sky_side(x.a, x.d, x.b, x.e, y.a, y.d) AS h, adql.sky_side(x.a, x.d, x.b, x.e, y.b, y.e) AS i,
                     adql.sky_side(y.a, y.d, y.b, y.e, x.a, x.d) AS j, adql.sky_side(y.a, y.d, y.b, y.e, x.b, x.e) AS k
              FROM adql.ring_edges(one) AS x, adql.ring_edges(other) AS y) AS s
          WHERE h * i < 0 AND j * k < 0 AND h * k > 0 $$;
CREATE OR REPLACE FUNCTION adql.rings_meet(one float8[], other float8[]) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT EXISTS (SELECT 1 FROM adql.ring_edges(one) WHERE adql.ring_holds(other, a, d))
              OR EXISTS (SELECT 1 FROM adql.ring_edges(other) WHERE adql.ring_holds(one, a, d)) OR adql.rings_crossed(one, other) > 0 $$;
CREATE OR REPLACE FUNCTION adql.ring_within(inside float8[], outside float8[]) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT bool_and(adql.ring_holds(outside, a, d)) AND adql.rings_crossed(inside, outside) = 0 FROM adql.ring_edges(inside) $$;
