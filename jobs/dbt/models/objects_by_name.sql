-- How many photos show an object of each name, and how sure Vision is of it.
{{ config(materialized='table') }}

SELECT object, COUNT(*) AS photos, AVG(object_score) AS mean_score
FROM {{ ref('photos') }}
WHERE object_score >= {{ var('min_score', 0) }}
GROUP BY object
