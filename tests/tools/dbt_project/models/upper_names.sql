{{ config(materialized='view') }}
SELECT id, UPPER(name) AS name FROM {{ ref('people') }}
