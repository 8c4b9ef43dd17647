MODEL (name mesh.by_day, kind INCREMENTAL_BY_TIME_RANGE (time_column day), partitioned_by day);
SELECT day, COUNT(*) AS n FROM mesh.people WHERE day BETWEEN @start_date AND @end_date GROUP BY day;
