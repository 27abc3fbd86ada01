-- Arithmetic of arrays and of regions, which the query path's SQL calls; postgres_functions.sql has the same names. Arguments are
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

-- Aggregates, component by component, of arrays as they are stored. NULL elements are left out; a sum or a mean is NaN
-- where an array is too short to have the element. Element 0 stands for the array itself: how many there are.
CREATE MACRO vec_elements(a) AS TABLE (
    SELECT unnest(list_prepend(NULL, v)) AS x, unnest(range(len(v) + 1)) AS i
    FROM (SELECT CAST(unnest(a) AS DOUBLE[]) AS v) WHERE v IS NOT NULL);
CREATE MACRO vec_padded(x, n) AS
    CASE WHEN x IS NOT NULL THEN list_transform(list_zip(x, n)[2:], lambda e: CASE WHEN e[2] = n[1] THEN e[1] ELSE 'nan' END) END;
CREATE MACRO vec_sums(a) AS (SELECT vec_padded(x, n) FROM (SELECT list(x ORDER BY i) AS x, list(n ORDER BY i) AS n FROM
    (SELECT i, sum(x) AS x, count(*) AS n FROM vec_elements(list(a)) GROUP BY i)));
CREATE MACRO vec_means(a) AS (SELECT vec_padded(x, n) FROM (SELECT list(x ORDER BY i) AS x, list(n ORDER BY i) AS n FROM
    (SELECT i, avg(x) AS x, count(*) AS n FROM vec_elements(list(a)) GROUP BY i)));
CREATE MACRO vec_lows(a) AS (SELECT list(x ORDER BY i)[2:] FROM
    (SELECT i, min(x) AS x FROM vec_elements(list(a)) GROUP BY i));
CREATE MACRO vec_highs(a) AS (SELECT list(x ORDER BY i)[2:] FROM
    (SELECT i, max(x) AS x FROM vec_elements(list(a)) GROUP BY i));
CREATE MACRO vec_counts(a) AS (SELECT list(n ORDER BY i)[2:] FROM
    (SELECT i, count(x) AS n FROM vec_elements(list(a)) GROUP BY i));

-- Regions on the sky, in degrees. Differences of angles are taken before their sines, so that polygons of milliarcseconds
-- keep their digits. A ring is ra, dec, ra, dec …; its inside is the smaller of the two sides. NULLs give NULL.
CREATE MACRO sky_chord(a, d, b, e) AS  -- the squared sine of half the angle between two points
    pow(sin(radians(d - e) / 2), 2) + cos(radians(d)) * cos(radians(e)) * pow(sin(radians(a - b) / 2), 2);
CREATE MACRO sky_side(a, d, b, e, p, q) AS  -- positive where p, q lies to the left of the arc from a, d to b, e
    sin(radians(q)) * cos(radians(d)) * cos(radians(e)) * sin(radians(b - a))
    + sin(radians(d)) * cos(radians(e)) * cos(radians(q)) * sin(radians(p - b))
    + sin(radians(e)) * cos(radians(q)) * cos(radians(d)) * sin(radians(a - p));
CREATE MACRO ring_edges(ring) AS list_transform([ring], lambda r: list_transform(range(1, len(r) // 2 + 1), lambda i: {
    'a': r[2 * i - 1], 'd': r[2 * i], 'b': r[(2 * i) % len(r) + 1], 'e': r[(2 * i + 1) % len(r) + 1],
    'turn': fmod(r[(2 * i) % len(r) + 1] - r[2 * i - 1] + 1260.0, 360.0) - 180.0}))[1];
CREATE MACRO ring_turn(edges) AS list_sum(list_transform(edges, lambda x: x.turn));  -- degrees around the pole
CREATE MACRO ring_strips(edges) AS list_sum(list_transform(edges, lambda x: 2 * atan2(  -- steradians to the equator
    tan(radians(x.turn) / 2) * (tan(radians(x.d) / 2) + tan(radians(x.e) / 2)),
    1 + tan(radians(x.d) / 2) * tan(radians(x.e) / 2))));
CREATE MACRO edges_hold(edges, ra, dec) AS  -- edges that the point's meridian meets north of it are counted
    fmod(list_sum(list_transform(edges, lambda x: CASE WHEN x.turn * sky_side(x.a, x.d, x.b, x.e, ra, dec) < 0
        AND ((x.turn > 0 AND fmod(ra - x.a + 720.0, 360.0) < x.turn)
            OR (x.turn BETWEEN -179.9999999999 AND 0 AND fmod(ra - x.b + 720.0, 360.0) < -x.turn)) THEN 1.0 ELSE 0.0 END)), 2.0)
    = CASE WHEN abs(ring_turn(edges)) > 180 AND ring_turn(edges) * ring_strips(edges) >= 0 THEN 0 ELSE 1 END;
CREATE MACRO ring_holds(ring, ra, dec) AS list_transform([{'e': ring_edges(ring), 'p': ra, 'q': dec}],
    lambda s: CASE WHEN s.p + s.q <= 'inf'::DOUBLE THEN edges_hold(s.e, s.p, s.q) END)[1];  -- NaN is larger
CREATE MACRO ring_distance(ring, ra, dec) AS list_transform([{'e': ring_edges(ring), 'p': ra, 'q': dec}],
    lambda s: CASE WHEN s.p + s.q IS NOT NULL THEN degrees(list_min(list_transform(list_transform(s.e, lambda x: {  -- to the nearest edge
            'h': sky_chord(x.a, x.d, x.b, x.e), 'g': sky_chord(x.a, x.d, s.p, s.q), 'k': sky_chord(x.b, x.e, s.p, s.q),
            'v': sky_side(x.a, x.d, x.b, x.e, s.p, s.q)}),
        lambda y: CASE WHEN y.h > 0 AND y.g + y.h - y.k >= 2 * y.g * y.h AND y.k + y.h - y.g >= 2 * y.k * y.h
            THEN asin(least(1.0, abs(y.v) / (2 * sqrt(y.h * (1 - y.h))))) ELSE 2 * asin(sqrt(least(1.0, y.g, y.k))) END))) END)[1];
CREATE MACRO ring_reach(ring, ra, dec) AS list_transform([{'e': ring_edges(ring), 'p': ra, 'q': dec}],
    lambda s: list_transform([list_max(list_transform(s.e, lambda x: sky_chord(x.a, x.d, s.p, s.q)))],  -- to the farthest corner
        lambda h: CASE WHEN h IS NOT NULL THEN degrees(2 * asin(sqrt(least(1.0, h)))) END)[1])[1];
CREATE MACRO ring_area(ring) AS list_transform([ring_edges(ring)], lambda e: pow(degrees(1), 2)
    * CASE WHEN abs(ring_turn(e)) < 180 THEN least(abs(ring_strips(e)), 4 * pi() - abs(ring_strips(e)))
        ELSE 2 * pi() - abs(ring_strips(e)) END)[1];
-- The integral of the direction over the inside is half the sum of the edges' poles, each by the length of its edge;
-- it is summed along the east, the north and the direction of the first corner.
CREATE MACRO ring_moments(ring) AS list_transform([ring], lambda r: list_transform(list_transform(ring_edges(r), lambda x: {
        'x': cos(radians(x.d)) * sin(radians(x.a - r[1])), 'u': cos(radians(x.e)) * sin(radians(x.b - r[1])),
        'y': sin(radians(x.d - r[2])) + 2 * cos(radians(x.d)) * sin(radians(r[2])) * pow(sin(radians(x.a - r[1]) / 2), 2),
        'v': sin(radians(x.e - r[2])) + 2 * cos(radians(x.e)) * sin(radians(r[2])) * pow(sin(radians(x.b - r[1]) / 2), 2),
        'z': 1 - 2 * sky_chord(x.a, x.d, r[1], r[2]), 'w': 1 - 2 * sky_chord(x.b, x.e, r[1], r[2]),
        'h': sky_chord(x.a, x.d, x.b, x.e)}),
    lambda y: list_transform([CASE WHEN y.h > 0 THEN asin(sqrt(least(1.0, y.h))) / sqrt(y.h * (1 - y.h)) ELSE 0 END],
        lambda k: [k * (y.y * y.w - y.z * y.v), k * (y.z * y.u - y.x * y.w), k * (y.x * y.v - y.y * y.u), y.x, y.y, y.z])[1]))[1];
CREATE MACRO ring_centre(ring) AS list_transform([{'r': ring, 'm': list_transform([ring_moments(ring)], lambda m:
        list_transform(range(1, 7), lambda n: list_sum(list_transform(m, lambda v: v[n]))))[1]}],
    lambda s: list_transform([CASE WHEN s.m[1] * s.m[4] + s.m[2] * s.m[5] + s.m[3] * s.m[6] < 0 THEN -1 ELSE 1 END], lambda f:
        [f * s.m[1], f * (s.m[3] * cos(radians(s.r[2])) - s.m[2] * sin(radians(s.r[2]))),
         f * (s.m[2] * cos(radians(s.r[2])) + s.m[3] * sin(radians(s.r[2]))), s.r[1]])[1])[1];
CREATE MACRO ring_centroid(ring) AS list_transform([ring_centre(ring)], lambda c: CASE WHEN c[4] IS NOT NULL THEN
    [fmod(c[4] + degrees(atan2(c[1], c[2])) + 720.0, 360.0), degrees(atan2(c[3], sqrt(c[1] * c[1] + c[2] * c[2])))] END)[1];
CREATE MACRO edges_crossed(one, other) AS list_sum(list_transform(one, lambda x: list_sum(list_transform(other,
    lambda y: list_transform([[sky_side(x.a, x.d, x.b, x.e, y.a, y.d), sky_side(x.a, x.d, x.b, x.e, y.b, y.e),
                               sky_side(y.a, y.d, y.b, y.e, x.a, x.d), sky_side(y.a, y.d, y.b, y.e, x.b, x.e)]],
        lambda k: CASE WHEN k[1] * k[2] < 0 AND k[3] * k[4] < 0 AND k[1] * k[4] > 0 THEN 1 ELSE 0 END)[1]))));
CREATE MACRO edges_holding(outside, inside) AS  -- how many corners of one ring the other holds
    list_sum(list_transform(inside, lambda y: CASE WHEN edges_hold(outside, y.a, y.d) THEN 1 ELSE 0 END));
CREATE MACRO rings_meet(one, other) AS list_transform([{'a': ring_edges(one), 'b': ring_edges(other)}],
    lambda s: edges_holding(s.a, s.b) + edges_holding(s.b, s.a) + edges_crossed(s.a, s.b) > 0)[1];
CREATE MACRO ring_within(inside, outside) AS list_transform([{'a': ring_edges(inside), 'b': ring_edges(outside)}],
    lambda s: CASE WHEN s.b IS NOT NULL THEN edges_holding(s.b, s.a) = len(s.a) AND edges_crossed(s.a, s.b) = 0 END)[1];
